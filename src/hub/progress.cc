#include "hub/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/log.h"

namespace outrider::hub {
namespace {

std::string clock_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::min(seconds, 360000.0));
  return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
                       : fmt::format("{:02}:{:02}", whole / 60, whole % 60);
}

}  // namespace

std::string size_text(uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (value >= 1e9) return fmt::format("{:.1f} GB", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.1f} MB", value / 1e6);
  return value >= 1e3 ? fmt::format("{:.1f} kB", value / 1e3) : fmt::format("{} B", bytes);
}

Progress::Progress(std::string title, uint64_t total, uint64_t done)
    : title_(std::move(title)),
      total_(total),
      begin_(done),
      is_terminal_(isatty(STDERR_FILENO) != 0),
      recent_(done) {}

std::string Progress::line(uint64_t done, Clock::time_point now) const {
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double mean = seconds > 0 && done > begin_ ? static_cast<double>(done - begin_) / seconds : 0;
  const double rate = rate_ > 0 ? rate_ : mean;
  const std::string left =
      rate > 0 ? clock_text(static_cast<double>(total_ - std::min(done, total_)) / rate) + " left"
               : "-- left";
  return fmt::format("{} of {}, {}/s, {}", size_text(done), size_text(total_),
                     size_text(static_cast<uint64_t>(rate)), left);
}

void Progress::draw(uint64_t done, Clock::time_point now) const {
  constexpr int kWidth = 30;
  const double share = total_ > 0 ? static_cast<double>(done) / static_cast<double>(total_) : 1;
  if (!is_terminal_) {
    log::info(fmt::format("{}: {:.0f} %, {}", title_, 100 * share, line(done, now)));
    return;
  }
  const auto filled = static_cast<size_t>(std::clamp(share, 0.0, 1.0) * kWidth);
  std::fprintf(stderr, "\r%s: %3.0f%%|%s%s| %s\033[K", title_.c_str(), 100 * share,
               std::string(filled, '#').c_str(), std::string(kWidth - filled, ' ').c_str(),
               line(done, now).c_str());
  std::fflush(stderr);
}

void Progress::show(uint64_t done) {
  const auto pause = std::chrono::milliseconds(is_terminal_ ? 200 : 30000);
  const Clock::time_point now = Clock::now();
  if (now - drawn_ < pause) return;
  const double seconds = std::chrono::duration<double>(now - drawn_).count();
  const double last = done > recent_ ? static_cast<double>(done - recent_) / seconds : 0;
  // Of about the last five seconds.
  const double weight = 1 - std::exp(-seconds / 5);
  rate_ = rate_ > 0 ? rate_ + weight * (last - rate_) : last;
  drawn_ = now;
  recent_ = done;
  draw(done, now);
}

void Progress::close(uint64_t done) {
  if (!is_terminal_) return;
  draw(done, Clock::now());
  std::fputc('\n', stderr);
}

}  // namespace outrider::hub

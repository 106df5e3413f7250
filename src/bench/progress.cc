#include "bench/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace outrider::bench {
namespace {

std::string minutes(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
                       : fmt::format("{:02}:{:02}", whole / 60, whole % 60);
}

}  // namespace

Progress::Progress(size_t total, bool enabled)
    : total_(total), enabled_(enabled), is_terminal_(isatty(STDERR_FILENO) != 0) {
  if (enabled_ && is_terminal_) draw(start_);
}

void Progress::advance() {
  ++done_;
  const auto pause = is_terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10000);
  const Clock::time_point now = Clock::now();
  if (enabled_ && now - drawn_ >= pause) draw(now);
}

void Progress::close() {
  if (!enabled_) return;
  draw(Clock::now());
  if (is_terminal_) std::fputc('\n', stderr);
}

void Progress::draw(Clock::time_point now) {
  constexpr size_t kWidth = 40;
  drawn_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done_) / seconds : 0;
  const size_t filled = total_ == 0 ? kWidth : kWidth * done_ / total_;
  const std::string left = done_ == 0 ? "?" : minutes(static_cast<double>(total_ - done_) / rate);
  const std::string line =
      fmt::format("{:3}%|{}{}| {}/{} [{}<{}, {:.2f}it/s]", total_ == 0 ? 100 : 100 * done_ / total_,
                  std::string(filled, '#'), std::string(kWidth - filled, ' '), done_, total_,
                  minutes(seconds), left, rate);
  std::fprintf(stderr, is_terminal_ ? "\r%s\033[K" : "%s\n", line.c_str());
  std::fflush(stderr);
}

}  // namespace outrider::bench

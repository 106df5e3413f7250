// One bar for all of a download on standard error's terminal; a log line now and then where it is none.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace outrider::hub {

// "109.8 GB": powers of 1000.
std::string size_text(uint64_t bytes);

class Progress {
 public:
  // `done` of `total` bytes were there already.
  Progress(std::string title, uint64_t total, uint64_t done);
  // What is there now; draws when it is time.
  void show(uint64_t done);
  // The last state; ends the line.
  void close(uint64_t done);

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(uint64_t done, Clock::time_point now) const;
  void draw(uint64_t done, Clock::time_point now) const;

  const std::string title_;
  const uint64_t total_, begin_;
  const bool is_terminal_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point drawn_ = start_;
  uint64_t recent_ = 0;  // done at drawn_
  double rate_ = 0;      // bytes a second, of the last seconds
};

}  // namespace outrider::hub

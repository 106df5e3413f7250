// A progress bar on standard error, as tqdm draws one.
#pragma once

#include <chrono>
#include <cstddef>

namespace outrider::bench {

class Progress {
 public:
  // Not `enabled`: nothing is printed. Where standard error is no terminal a line comes every ten seconds.
  Progress(size_t total, bool enabled);
  void advance();
  // The last state; ends the line.
  void close();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(Clock::time_point now);

  const size_t total_;
  const bool enabled_, is_terminal_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point drawn_ = start_;
  size_t done_ = 0;
};

}  // namespace outrider::bench

// Ctrl-C while something runs that can be broken off.
#pragma once

namespace outrider::bench {

inline constexpr int kInterruptedExit = 130;

// While one lives, the first SIGINT or SIGTERM is noted; the second one ends the program. One at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool raised() const;
  // After others had the signals for themselves.
  void arm();
};

}  // namespace outrider::bench

#include "bench/interrupt.h"

#include <atomic>
#include <csignal>

namespace outrider::bench {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void set_handler(void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  for (const int number : {SIGINT, SIGTERM}) sigaction(number, &action, nullptr);
}

}  // namespace

Interrupt::Interrupt() {
  interrupted = false;
  arm();
}

Interrupt::~Interrupt() { set_handler(SIG_DFL, 0); }

void Interrupt::arm() {
  set_handler([](int) { interrupted = true; }, static_cast<int>(SA_RESETHAND));
}

bool Interrupt::raised() const { return interrupted; }

}  // namespace outrider::bench

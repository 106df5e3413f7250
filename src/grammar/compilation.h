// One compilation on this thread: how long it may take, and what XGrammar had to say.
#pragma once

#include <atomic>
#include <chrono>
#include <string>

namespace outrider::grammar {

// That this thread has spent: others on the machine must not make a grammar look costly.
std::chrono::nanoseconds thread_cpu_time();

class Compilation {
 public:
  // `cancelled` may be set by another thread at any time.
  Compilation(std::chrono::nanoseconds limit, const std::atomic<bool>& cancelled);
  ~Compilation();
  Compilation(const Compilation&) = delete;
  Compilation& operator=(const Compilation&) = delete;

  // Throws std::runtime_error when the time is over.
  void check() const;
  // The first part of a grammar that XGrammar said it would leave out; empty when there was none.
  const std::string& warning() const { return warning_; }
  void add_warning(const std::string& text);

 private:
  const std::chrono::nanoseconds deadline_;
  const std::atomic<bool>& cancelled_;
  std::string warning_;
};

}  // namespace outrider::grammar

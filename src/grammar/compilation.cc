#include "grammar/compilation.h"

#include <ctime>
#include <stdexcept>

#include "grammar/xgrammar_hooks.h"

namespace outrider::grammar {
namespace {

thread_local Compilation* current = nullptr;

}  // namespace

std::chrono::nanoseconds thread_cpu_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

Compilation::Compilation(std::chrono::nanoseconds limit, const std::atomic<bool>& cancelled)
    : deadline_(thread_cpu_time() + limit), cancelled_(cancelled) {
  current = this;
}

Compilation::~Compilation() { current = nullptr; }

void Compilation::check() const {
  if (cancelled_) throw std::runtime_error("the server is stopping");
  if (thread_cpu_time() > deadline_) {
    throw std::runtime_error("takes too long to compile; make it smaller");
  }
}

void Compilation::add_warning(const std::string& text) {
  if (warning_.empty()) warning_ = text;
}

void check_compilation() {
  if (current != nullptr) current->check();
}

}  // namespace outrider::grammar

// XGrammar's log, which it lets its user provide (XGRAMMAR_LOG_CUSTOMIZE). Its fatal messages are about the
// grammar's text; its warnings say which part of it will not be followed.
namespace xgrammar {

[[noreturn]] void LogFatalImpl(const std::string& file, int line, const std::string& message);
void LogMessageImpl(const std::string& file, int line, int level, const std::string& message);

void LogFatalImpl(const std::string&, int, const std::string& message) { throw std::runtime_error(message); }

void LogMessageImpl(const std::string&, int, int level, const std::string& message) {
  constexpr int kWarning = 2;
  if (level == kWarning && outrider::grammar::current != nullptr) {
    outrider::grammar::current->add_warning(message);
  }
}

}  // namespace xgrammar

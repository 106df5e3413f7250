#include "base/log.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <atomic>
#include <memory>
#include <mutex>

#include "base/text.h"

namespace outrider::log {
namespace {

// vLLM's names: upper case, WARNING in full.
class LevelName : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    const std::string_view name = message.level == spdlog::level::debug  ? "DEBUG"
                                  : message.level == spdlog::level::info ? "INFO"
                                  : message.level == spdlog::level::warn ? "WARNING"
                                                                         : "ERROR";
    out.append(name.data(), name.data() + name.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<LevelName>(); }
};

std::unique_ptr<spdlog::formatter> make_formatter(const std::string& pattern) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<LevelName>('*').set_pattern(pattern);
  return formatter;
}

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

struct Loggers {
  std::shared_ptr<spdlog::logger> timed, plain;
};

// '%' begins a field in spdlog's patterns.
std::string escape_pattern(const std::string& text) {
  std::string escaped;
  for (const char c : text) escaped.append(c == '%' ? 2 : 1, c);
  return escaped;
}

std::shared_ptr<const Loggers> make_loggers(const Options& options) {
  auto loggers = std::make_shared<Loggers>();
  const auto make = [&](const std::string& pattern) {
    std::shared_ptr<spdlog::sinks::sink> sink;
    if (options.to_stderr) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::stdout_sink_mt>();
    }
    sink->set_formatter(make_formatter(pattern));
    auto logger = std::make_shared<spdlog::logger>("", std::move(sink));
    logger->set_level(to_spdlog(options.level));
    logger->flush_on(spdlog::level::debug);
    return logger;
  };
  const std::string prefix = escape_pattern(options.prefix);
  loggers->timed = make(prefix + "%* %m-%d %H:%M:%S [%s:%#] %v");
  loggers->plain = make(prefix + "%v");
  loggers->plain->set_level(spdlog::level::debug);
  return loggers;
}

// Swapped whole by configure(), so that a thread that is writing keeps the loggers it began with.
std::atomic<std::shared_ptr<const Loggers>>& current() {
  static std::atomic<std::shared_ptr<const Loggers>> loggers{make_loggers({})};
  return loggers;
}

void write(Level level, std::string_view message, const std::source_location& where) {
  const auto loggers = current().load();
  const auto spd_level = to_spdlog(level);
  if (!loggers->timed->should_log(spd_level)) return;
  // Several lines (a table) get the prefix each, under one lock.
  static std::mutex together;
  const std::lock_guard lock(together);
  const spdlog::source_loc loc{where.file_name(), static_cast<int>(where.line()), where.function_name()};
  size_t begin = 0;
  do {
    const size_t end = std::min(message.find('\n', begin), message.size());
    const std::string_view line = message.substr(begin, end - begin);
    loggers->timed->log(loc, spd_level, spdlog::string_view_t(line.data(), line.size()));
    begin = end + 1;
  } while (begin < message.size());
}

}  // namespace

void configure(const Options& options) { current().store(make_loggers(options)); }

Level parse_level(std::string_view name, bool& known) {
  const std::string lower = lower_case(name);
  known = true;
  if (lower == "debug" || lower == "trace") return Level::kDebug;
  if (lower == "info") return Level::kInfo;
  if (lower == "warning" || lower == "warn") return Level::kWarning;
  if (lower == "error" || lower == "critical" || lower == "fatal") return Level::kError;
  known = false;
  return Level::kInfo;
}

bool enabled(Level level) { return current().load()->timed->should_log(to_spdlog(level)); }

void debug(std::string_view message, std::source_location where) { write(Level::kDebug, message, where); }
void info(std::string_view message, std::source_location where) { write(Level::kInfo, message, where); }
void warning(std::string_view message, std::source_location where) { write(Level::kWarning, message, where); }
void error(std::string_view message, std::source_location where) { write(Level::kError, message, where); }

void plain(std::string_view line) {
  current().load()->plain->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace outrider::log

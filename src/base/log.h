// Log lines in the shape vLLM's users and scripts know: `INFO 09-30 12:34:56 [serve.cc:12] message`.
// Any thread; lines of one message stay together. Format with fmt::format at the caller.
#pragma once

#include <source_location>
#include <string>
#include <string_view>

namespace outrider::log {

enum class Level { kDebug, kInfo, kWarning, kError };

struct Options {
  Level level = Level::kInfo;
  std::string prefix;      // put before every line
  bool to_stderr = false;  // otherwise standard output
};

// Before this is called lines of kInfo and above go to standard output.
void configure(const Options& options);

// "debug", "INFO", "warn", "critical"...; unknown names give kInfo and `known` = false.
Level parse_level(std::string_view name, bool& known);

bool enabled(Level level);

void debug(std::string_view message, std::source_location where = std::source_location::current());
void info(std::string_view message, std::source_location where = std::source_location::current());
void warning(std::string_view message, std::source_location where = std::source_location::current());
void error(std::string_view message, std::source_location where = std::source_location::current());

// A line without time and place, as uvicorn writes: `INFO:     Application startup complete.`
void plain(std::string_view line);

}  // namespace outrider::log

// `outrider COMMAND --help[=TOPIC]` and docs/options.md, from the option tables.
#pragma once

#include <string>

#include "config/table.h"

namespace outrider::config {

// "": overview; "listgroup"; "all" or "page"; a group's name; "markdown"; otherwise options that mention the
// word.
std::string serve_help(const std::string& topic);

struct HelpText {
  const char* usage;  // one line
  const char* about;  // what the command does
};

// The same without "markdown" for the options of another command.
std::string command_help(const OptionTable& table, const HelpText& text, const std::string& topic);

}  // namespace outrider::config

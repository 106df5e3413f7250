// `outrider COMMAND --help[=TOPIC]` and docs/options.md, from the option tables.
#pragma once

#include <string>

#include "config/table.h"

namespace outrider::config {

// "": overview; "listgroup"; "all" or "page"; a group's name; "markdown" (of `serve` only); otherwise options
// that mention the word.
std::string command_help(const OptionTable& table, const std::string& topic);

}  // namespace outrider::config

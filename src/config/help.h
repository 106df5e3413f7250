// `outrider serve --help[=TOPIC]` and docs/options.md, from the option table.
#pragma once

#include <string>

namespace outrider::config {

// "": overview; "listgroup"; "all" or "page"; a group's name; "markdown"; otherwise options that mention the
// word.
std::string serve_help(const std::string& topic);

}  // namespace outrider::config

// The subcommands of `outrider`.
#pragma once

#include <string>
#include <vector>

namespace outrider::cli {

// `words`: the command line without the program's name. Prints; returns the exit code: 2 for what was typed
// wrong, 1 for what went wrong.
int run_command(const std::vector<std::string>& words);

}  // namespace outrider::cli

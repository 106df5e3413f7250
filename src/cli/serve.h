// `outrider serve`: reads the options, joins checkpoint, runner, engine and server, and serves until a
// signal.
#pragma once

#include <string>
#include <vector>

#include "config/serve_options.h"

namespace outrider::cli {

// `arguments`: what follows `serve`. Returns the exit code. Throws StartupError.
int serve(const std::vector<std::string>& arguments, const config::Environment& environment);

}  // namespace outrider::cli

// `outrider download`: a model of the hub into its cache.
#pragma once

#include <string>
#include <vector>

#include "config/serve_options.h"

namespace outrider::cli {

// `arguments`: what follows `download`. Prints the snapshot's folder; returns the exit code. Throws
// StartupError.
int download(const std::vector<std::string>& arguments, const config::Environment& environment);

}  // namespace outrider::cli

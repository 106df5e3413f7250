// `outrider bench serve`, `latency`, `throughput` and `sweep`.
#pragma once

#include <string>
#include <vector>

#include "config/serve_options.h"

namespace outrider::cli {

// `arguments`: what follows `bench`. Returns the exit code. Throws StartupError.
int bench(const std::vector<std::string>& arguments, const config::Environment& environment);

}  // namespace outrider::cli

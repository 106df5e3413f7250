// `outrider collect-env`: what a bug report should say about program and machine. No secrets.
#pragma once

#include <string>

#include "config/serve_options.h"

namespace outrider::cli {

std::string collect_env(const config::Environment& environment);

}  // namespace outrider::cli

// The keys of --compilation-config, by name of vLLM 0.10.2 to 0.33.
#pragma once

#include <string>
#include <vector>

#include "config/serve_options.h"

namespace outrider::config {

// Checks names and types. Throws UsageError for an unknown key, naming the nearest one. Returns in one
// line what becomes of the keys that are set; empty when none is.
std::string check_compilation_config(const Json& config);

// For docs/options.md: key and what becomes of it.
std::vector<std::pair<std::string, std::string>> compilation_keys();

}  // namespace outrider::config

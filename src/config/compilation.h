// The keys of --compilation-config, by name of vLLM 0.10.2 to 0.33.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/serve_options.h"

namespace outrider::config {

// Checks names and types. Throws UsageError for an unknown key, naming the nearest one. Returns in one
// line what becomes of the keys that are set; empty when none is.
std::string check_compilation_config(const Json& config);

// Rows of the decode steps whose CUDA graphs are captured at start, as --enforce-eager, cudagraph_mode and
// the options of sizes say; empty: no graphs; nothing: they say nothing. Throws UsageError where two of them
// name sizes.
std::optional<std::vector<int>> graph_rows(const ServeOptions& options);

// For docs/options.md: key and what becomes of it.
std::vector<std::pair<std::string, std::string>> compilation_keys();

}  // namespace outrider::config

// vLLM's environment variables, as other ways to write options. They are no interface of their own.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/arguments.h"

namespace outrider::config {

// Variables that stand for options, in a fixed order; the others are checked. Throws UsageError for a value
// that cannot be honoured.
ArgumentList read_environment(const OptionTable& table, const Environment& environment);

// For docs/options.md: variable and what becomes of it.
std::vector<std::pair<std::string, std::string>> environment_variables();

}  // namespace outrider::config

// YAML text to a JSON tree: the part of YAML 1.1 that configuration files use, of bounded size and depth.
#pragma once

#include <string>
#include <vector>

#include "config/serve_options.h"

namespace outrider::config {

struct YamlDocument {
  Json root;                          // null for an empty document
  std::vector<std::string> warnings;  // keys given twice: the last one counts
};

inline constexpr size_t kMaxYamlBytes = 1 << 20;

// Throws UsageError naming `name`, line and column. Aliases, unknown tags and several documents are refused.
YamlDocument parse_yaml(const std::string& text, const std::string& name);

}  // namespace outrider::config

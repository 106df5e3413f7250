#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace outrider::chat {

// Lines of a file under tests/fixtures.
inline std::vector<nlohmann::ordered_json> read_cases(const std::string& name) {
  std::ifstream file(std::string(OUTRIDER_SOURCE_DIR) + "/tests/fixtures/" + name);
  std::vector<nlohmann::ordered_json> cases;
  for (std::string line; std::getline(file, line);) cases.push_back(nlohmann::ordered_json::parse(line));
  return cases;
}

}  // namespace outrider::chat

// The goldens of tests/fixtures/tokenizer and the tokenizers they belong to.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace outrider::tokenizer {

inline std::string fixture(const std::string& name) {
  return std::string(OUTRIDER_SOURCE_DIR) + "/tests/fixtures/tokenizer/" + name;
}

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::vector<nlohmann::json> read_lines(const std::string& path) {
  std::ifstream file(path);
  std::vector<nlohmann::json> cases;
  for (std::string line; std::getline(file, line);) cases.push_back(nlohmann::json::parse(line));
  return cases;
}

inline std::shared_ptr<const Tokenizer> pocket() {
  static const auto tokenizer =
      Tokenizer::load(std::string(OUTRIDER_SOURCE_DIR) + "/models/pocket-scout/fp8");
  return tokenizer;
}

inline std::shared_ptr<const Tokenizer> odd() {
  static const auto tokenizer = Tokenizer::parse(read_text(fixture("odd.json")), "odd.json");
  return tokenizer;
}

// Llama 4's own tokenizer cannot be committed: scripts/llama4_tokenizer.py makes it. Null when it is not
// there.
inline std::shared_ptr<const Tokenizer> llama4() {
  static const auto tokenizer = []() -> std::shared_ptr<const Tokenizer> {
    const char* folder = std::getenv("OUTRIDER_LLAMA4_TOKENIZER");
    const std::string path = folder ? folder : std::string(OUTRIDER_SOURCE_DIR) + "/build/llama4-tokenizer";
    return std::filesystem::exists(path + "/tokenizer.json") ? Tokenizer::load(path) : nullptr;
  }();
  return tokenizer;
}

inline constexpr const char* kNoLlama4 =
    "Llama 4's tokenizer is not there: run scripts/llama4_tokenizer.py build/llama4-tokenizer";

}  // namespace outrider::tokenizer

// What tests/tools/make_bench_cases.py wrote with numpy, Python's random and vLLM's own client.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/bench_options.h"
#include "tokenizer/tokenizer.h"

namespace outrider::bench {

inline std::string data_path(const std::string& name) {
  return std::string(OUTRIDER_SOURCE_DIR) + "/tests/bench/data/" + name;
}

inline nlohmann::json read_cases(const std::string& name) {
  std::ifstream file(data_path(name));
  return nlohmann::json::parse(file);
}

inline std::shared_ptr<const tokenizer::Tokenizer> pocket() {
  static const auto tokenizer =
      tokenizer::Tokenizer::load(std::string(OUTRIDER_SOURCE_DIR) + "/models/pocket-scout/fp8");
  return tokenizer;
}

// {"num_prompts": 5, "no_oversample": true} -> --num-prompts 5 --no-oversample
inline config::BenchServeOptions options_from(const nlohmann::json& values,
                                              std::vector<std::string> words = {}) {
  for (const auto& [key, value] : values.items()) {
    words.push_back("--" + key);
    if (value != true) words.push_back(value.is_string() ? value.get<std::string>() : value.dump());
  }
  return config::parse_bench_serve(words, {});
}

}  // namespace outrider::bench

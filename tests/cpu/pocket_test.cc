// The embedded model against transformers: models/pocket-scout/goldens.json (written by its eval/goldens.py
// in fp32 from the dequantised FP8 weights). Its prompts reach over several chunks of the chunked layers.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cpu/tiny_model.h"

namespace outrider::test {
namespace {

constexpr int kMaxLen = 1152;
constexpr float kNarrow = 1e-3f;  // a smaller gap between the two best logits decides nothing

int32_t best_of(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

TEST(PocketScout, ContinuesItsPromptsAsTransformersDoes) {
  const std::string folder = std::string(OUTRIDER_SOURCE_DIR) + "/models/pocket-scout/";
  std::ifstream file(folder + "goldens.json");
  const auto goldens = nlohmann::json::parse(file);
  auto model = std::make_shared<model::Model>(checkpoint::load(folder + "fp8", {}));
  const size_t vocab = model->config.vocab_size;
  TinyOptions options;
  options.max_len = kMaxLen;
  options.max_sequences = 1;
  TinyModel runner(model, options);

  size_t longest = 0, steps = 0;
  for (const auto& golden : goldens.at("cases")) {
    const auto prompt = golden.at("prompt_ids").get<std::vector<int32_t>>();
    const auto expected = golden.at("greedy_ids").get<std::vector<int32_t>>();
    const auto gap = golden.at("gap").get<std::vector<float>>();
    ASSERT_LE(prompt.size() + expected.size(), size_t{kMaxLen});
    longest = std::max(longest, prompt.size());
    std::vector<int32_t> next = prompt;
    int position = 0;
    for (size_t step = 0; step < expected.size() && gap[step] >= kNarrow; ++step, ++steps) {
      const std::vector<float> logits = runner.run({{0, position, next}});
      const int32_t token = best_of(std::span(logits).last(vocab));
      ASSERT_EQ(token, expected[step]) << golden.at("name") << ", step " << step;
      position += static_cast<int>(next.size());
      next = {token};
    }
  }
  EXPECT_GT(longest, size_t{3} * model->config.attention_chunk_size);
  EXPECT_GT(steps, 300u);
}

}  // namespace
}  // namespace outrider::test

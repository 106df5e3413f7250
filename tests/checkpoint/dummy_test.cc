#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dequantise.h"
#include "folder.h"

namespace outrider::checkpoint {
namespace {

using model::Model;
using model::WeightFormat;
using testing::HasSubstr;

Model load_dummy(const std::string& quantization, uint64_t seed = 0, const std::string& overrides = "") {
  LoadOptions options;
  options.format = LoadFormat::kDummy;
  options.quantization = quantization;
  options.seed = seed;
  options.hf_overrides = overrides;
  Folder folder("tiny-a-bf16");
  folder.tensors.clear();  // no weight files
  return folder.load(options);
}

double mean_square(const model::Matrix& matrix) {
  double sum = 0;
  const std::vector<float> values = dequantise(matrix);
  for (const float value : values) sum += double{value} * value;
  return sum / static_cast<double>(values.size());
}

TEST(Dummy, EveryLinearHasUnitGainInEveryFormat) {
  for (const auto& [quantization, format] :
       {std::pair("", WeightFormat::kBf16), std::pair("modelopt", WeightFormat::kFp8),
        std::pair("modelopt_fp4", WeightFormat::kNvfp4)}) {
    const Model model = load_dummy(quantization);
    EXPECT_EQ(model.weights.format, format);
    for (const model::Matrix* matrix : all_matrices(model.weights)) {
      const double gain = mean_square(*matrix) * matrix->cols;
      const double expected = matrix == &model.weights.embed ? matrix->cols : 1.0;
      const double tolerance = 8.0 / std::sqrt(double(matrix->rows) * matrix->cols);
      EXPECT_NEAR(gain / expected, 1.0, tolerance + 0.01)
          << quantization << " " << matrix->rows << "x" << matrix->cols;
    }
    EXPECT_EQ(bf16_to_float(model.weights.layers[2].input_norm[127]), 1.0f);
  }
}

TEST(Dummy, QuantisedLayoutIsThatOfTheFusedDialect) {
  for (const auto& [quantization, fixture_name] :
       {std::pair("modelopt", "tiny-a-fp8"), std::pair("modelopt_fp4", "tiny-a-nvfp4"),
        std::pair("", "tiny-a-bf16")}) {
    const Model dummy = load_dummy(quantization);
    const Model real = load(fixture(fixture_name), {});
    const auto made = all_matrices(dummy.weights);
    const auto expected = all_matrices(real.weights);
    ASSERT_EQ(made.size(), expected.size());
    for (size_t i = 0; i < made.size(); ++i) {
      EXPECT_EQ(made[i]->format, expected[i]->format);
      EXPECT_EQ(made[i]->layout, expected[i]->layout);
      EXPECT_EQ(made[i]->rows, expected[i]->rows);
      EXPECT_EQ(made[i]->cols, expected[i]->cols);
      EXPECT_EQ(made[i]->stride, expected[i]->stride);
      EXPECT_EQ(made[i]->block_scale_stride, expected[i]->block_scale_stride);
      EXPECT_EQ(made[i]->input_scale > 0, expected[i]->input_scale > 0);
    }
  }
}

TEST(Dummy, TheSeedDecidesTheBytes) {
  const Model one = load_dummy("modelopt", 1);
  const Model again = load_dummy("modelopt", 1);
  const Model other = load_dummy("modelopt", 2);
  const auto up = [](const Model& model) { return dequantise(model.weights.layers[1].experts[2].up); };
  EXPECT_EQ(up(one), up(again));
  EXPECT_NE(up(one), up(other));
  EXPECT_NE(dequantise(one.weights.layers[1].experts[2].up), dequantise(one.weights.layers[1].experts[3].up));
}

// Random inputs through the router: no expert may be starved.
TEST(Dummy, RoutingIsSpreadOverTheExperts) {
  const Model model = load_dummy("");
  const std::vector<float> router = dequantise(model.weights.layers[0].router);
  const std::vector<float> embed = dequantise(model.weights.embed);
  const int hidden = model.config.hidden_size;
  std::vector<int> counts(model.config.num_experts);
  for (int token = 0; token < model.config.vocab_size; ++token) {
    std::vector<double> logits(counts.size());
    for (size_t e = 0; e < counts.size(); ++e)
      for (int i = 0; i < hidden; ++i) logits[e] += router[e * hidden + i] * embed[token * hidden + i];
    ++counts[std::max_element(logits.begin(), logits.end()) - logits.begin()];
  }
  for (const int count : counts)
    EXPECT_GT(count, model.config.vocab_size / static_cast<int>(counts.size()) / 2);
}

TEST(Dummy, DenseLayersAreMade) {
  const Model model = load_dummy("modelopt", 0, R"({"moe_layers": [1]})");
  EXPECT_FALSE(model.weights.layers[0].dense.gate.empty());
  EXPECT_TRUE(model.weights.layers[0].experts.empty());
  EXPECT_EQ(model.weights.layers[1].experts.size(), 4u);
}

TEST(Dummy, TheDeclaredFormatIsTheDefault) {
  LoadOptions options;
  options.format = LoadFormat::kDummy;
  EXPECT_EQ(load(fixture("tiny-a-nvfp4"), options).weights.format, WeightFormat::kNvfp4);
  EXPECT_EQ(load(fixture("tiny-a-fp8-mm-legacy"), options).weights.format, WeightFormat::kFp8);
}

TEST(Dummy, MoreThanTheMachinesMemoryIsRefusedBeforeAnythingIsTouched) {
  try {
    load_dummy("", 0, R"({"hidden_size": 1048576, "intermediate_size": 1048576, "num_local_experts": 1024})");
    FAIL();
  } catch (const StartupError& error) {
    EXPECT_THAT(error.what(), HasSubstr("dummy weights need"));
  }
}

}  // namespace
}  // namespace outrider::checkpoint

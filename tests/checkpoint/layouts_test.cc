// Every layout of a form must hold the same weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/load.h"
#include "dequantise.h"

namespace outrider::checkpoint {
namespace {

using model::Model;
using model::WeightFormat;

std::string fixture(const std::string& name) { return OUTRIDER_BINARY_DIR "/fixtures/checkpoints/" + name; }

Model load_fixture(const std::string& name) { return load(fixture(name), {}); }

double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

void expect_same_norms(const Model& a, const Model& b) {
  const auto values = [](const Model& model) {
    std::vector<uint16_t> all;
    const auto add = [&](const uint16_t* norm) {
      all.insert(all.end(), norm, norm + model.config.hidden_size);
    };
    add(model.weights.final_norm);
    for (const model::Layer& layer : model.weights.layers) {
      add(layer.input_norm);
      add(layer.post_attention_norm);
    }
    return all;
  };
  EXPECT_EQ(values(a), values(b));
}

struct Pair {
  const char* name;
  const char* reference;
};

class SameWeights : public testing::TestWithParam<Pair> {};

TEST_P(SameWeights, LayoutsOfOneFormHoldEqualWeightsAndScales) {
  const Model model = load_fixture(GetParam().name);
  const Model reference = load_fixture(GetParam().reference);
  EXPECT_EQ(model.weights.format, reference.weights.format);
  const auto matrices = all_matrices(model.weights);
  const auto expected = all_matrices(reference.weights);
  ASSERT_EQ(matrices.size(), expected.size());
  for (size_t i = 0; i < matrices.size(); ++i) {
    ASSERT_EQ(matrices[i]->rows, expected[i]->rows) << i;
    ASSERT_EQ(matrices[i]->cols, expected[i]->cols) << i;
    EXPECT_EQ(matrices[i]->input_scale, expected[i]->input_scale) << i;
    ASSERT_EQ(dequantise(*matrices[i]), dequantise(*expected[i])) << "matrix " << i;
  }
  expect_same_norms(model, reference);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, SameWeights,
                         testing::Values(Pair{"tiny-a-fp8-mm", "tiny-a-fp8"},
                                         Pair{"tiny-a-fp8-mm-legacy", "tiny-a-fp8"},
                                         Pair{"tiny-a-fp8-perexpert", "tiny-a-fp8"},
                                         Pair{"tiny-a-nvfp4-perexpert", "tiny-a-nvfp4"}),
                         [](const auto& info) {
                           std::string name = info.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Layouts, QuantisedWeightsAreNearTheBf16Ones) {
  const Model bf16 = load_fixture("tiny-a-bf16");
  EXPECT_EQ(bf16.weights.format, WeightFormat::kBf16);
  for (const auto& [name, format, bound] : {std::tuple("tiny-a-fp8", WeightFormat::kFp8, 0.04),
                                            std::tuple("tiny-a-nvfp4", WeightFormat::kNvfp4, 0.13)}) {
    const Model model = load_fixture(name);
    EXPECT_EQ(model.weights.format, format);
    const auto matrices = all_matrices(model.weights);
    const auto expected = all_matrices(bf16.weights);
    ASSERT_EQ(matrices.size(), expected.size());
    int quantised = 0;
    for (size_t i = 0; i < matrices.size(); ++i) {
      const double error = relative_error(dequantise(*matrices[i]), dequantise(*expected[i]));
      quantised += matrices[i]->format != WeightFormat::kBf16;
      EXPECT_LE(error, matrices[i]->format == WeightFormat::kBf16 ? 0.0 : bound) << name << " matrix " << i;
    }
    EXPECT_EQ(quantised, 4 * (4 + 3 + 3 * 4)) << name;
  }
}

TEST(Layouts, ScalesOfQueryKeyAndValueStayApartInFp8) {
  const Model model = load_fixture("tiny-a-fp8");
  const model::Layer& layer = model.weights.layers[0];
  EXPECT_NE(layer.q.weight_scale, layer.k.weight_scale);
  EXPECT_NE(layer.shared_expert.gate.weight_scale, layer.shared_expert.up.weight_scale);
  EXPECT_GT(layer.q.input_scale, 0.0f);
}

TEST(Layouts, KvScalesComeFromTheCheckpoint) {
  for (const auto& [name, is_one] :
       {std::pair("tiny-a-fp8", false), std::pair("tiny-a-fp8-mm-legacy", true)}) {
    for (const model::Layer& layer : load_fixture(name).weights.layers) {
      EXPECT_TRUE(layer.has_kv_scales);
      EXPECT_EQ(layer.k_scale == 1.0f, is_one) << name;
      EXPECT_EQ(layer.v_scale == 1.0f, is_one) << name;
    }
  }
}

TEST(Layouts, FixturesLoadWithoutWarnings) {
  for (const char* name : {"tiny-a-bf16", "tiny-a-fp8", "tiny-a-nvfp4", "tiny-a-fp8-mm",
                           "tiny-a-fp8-perexpert", "tiny-a-nvfp4-perexpert", "tiny-a-fp8-mm-legacy"})
    EXPECT_THAT(load_fixture(name).warnings, testing::IsEmpty()) << name;
}

TEST(Layouts, ViewsOutliveTheLoader) {
  model::Weights weights;
  { weights = load_fixture("tiny-a-nvfp4").weights; }
  double sum = 0;
  for (const float value : dequantise(weights.layers[3].experts[3].up)) sum += std::abs(value);
  EXPECT_GT(sum, 0.0);
}

}  // namespace
}  // namespace outrider::checkpoint

// End to end against transformers' outputs. What the keys mean and where the bounds come from: README.md
// beside this file.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cpu/tiny_model.h"

namespace outrider::test {
namespace {

struct GoldenCase {
  std::string form, mode;
  double rel_median, rel_max, lp_mean, lp_p99, gap;
};

std::string name_of(const testing::TestParamInfo<GoldenCase>& info) {
  return info.param.form + "_" + info.param.mode;
}

// What gtest prints for a case.
void PrintTo(const GoldenCase& c, std::ostream* out) { *out << c.form << "." << c.mode; }

// |a - b| / |b|, both after subtracting their means: a constant shift of the logits changes no probability.
double relative_error(std::span<const float> a, std::span<const float> b) {
  const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / a.size();
  const double mean_b = std::accumulate(b.begin(), b.end(), 0.0) / b.size();
  double difference = 0.0, norm = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow((a[i] - mean_a) - (b[i] - mean_b), 2);
    norm += std::pow(b[i] - mean_b, 2);
  }
  return std::sqrt(difference / norm);
}

double logprob(std::span<const float> logits, int32_t token) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (float logit : logits) sum += std::exp(logit - max);
  return logits[token] - max - std::log(sum);
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(q * values.size()))];
}

class Golden : public testing::TestWithParam<GoldenCase> {
 protected:
  static constexpr int kPrompts = 12;
  Golden() : golden_(fixture("goldens/tiny-a-" + GetParam().form + "." + GetParam().mode + ".safetensors")) {
    const std::string& mode = GetParam().mode;
    TinyOptions options;
    options.max_sequences = 1;
    if (mode.find("kv") != std::string::npos) options.kv_dtype = model::KvDtype::kFp8E4m3;
    if (mode.find("wa") == 0) options.quantization = cpu::ActivationQuantization::kCheckpoint;
    model_ = std::make_unique<TinyModel>(load_tiny("tiny-a-" + GetParam().form), options);
  }

  static std::string key(int prompt, const std::string& what) {
    return (prompt < 10 ? "p0" : "p") + std::to_string(prompt) + "." + what;
  }
  std::span<const float> row(const std::vector<float>& logits, size_t i) const {
    const size_t vocab = model_->config().vocab_size;
    return {logits.data() + i * vocab, vocab};
  }

  SafetensorsFile golden_;
  std::unique_ptr<TinyModel> model_;
};

TEST_P(Golden, PromptLogitsAndLogprobsAreWithinTheStatedBounds) {
  // Where activations are rounded, a last-bit difference may become a step, and a narrow choice of the last
  // row's router another expert: a jump, not an error. Such prompts count for the median only.
  const double narrow = GetParam().mode.find("wa") == 0 ? 0.02 : 0.0;
  std::vector<double> rel, rel_where_clear, lp;
  for (int p = 0; p < kPrompts; ++p) {
    const std::vector<int32_t> ids = golden_[key(p, "ids")].ints();
    const std::vector<float> logits = model_->run({{0, 0, ids}});
    rel.push_back(relative_error(row(logits, ids.size() - 1), golden_[key(p, "last_logits")].floats()));
    if (golden_[key(p, "router_margin")].floats().back() >= narrow) rel_where_clear.push_back(rel.back());
    const std::vector<float> expected = golden_[key(p, "logprobs")].floats();
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      lp.push_back(std::fabs(logprob(row(logits, i), ids[i + 1]) - expected[i]));
    }
  }
  const GoldenCase& bound = GetParam();
  EXPECT_GE(rel_where_clear.size(), 9u);
  EXPECT_LE(quantile(rel, 0.5), bound.rel_median);
  EXPECT_LE(quantile(rel_where_clear, 1.0), bound.rel_max);
  EXPECT_LE(std::accumulate(lp.begin(), lp.end(), 0.0) / lp.size(), bound.lp_mean);
  EXPECT_LE(quantile(lp, 0.99), bound.lp_p99);
}

TEST_P(Golden, GreedyContinuationsAreEqualUpToTheFirstNarrowChoice) {
  for (int p = 0; p < kPrompts; ++p) {
    std::vector<int32_t> ids = golden_[key(p, "ids")].ints();
    const std::vector<int32_t> expected = golden_[key(p, "greedy_ids")].ints();
    const std::vector<float> gap = golden_[key(p, "greedy_gap")].floats();
    std::vector<int32_t> next = ids;
    for (size_t step = 0; step < expected.size() && gap[step] >= GetParam().gap; ++step) {
      const int position = static_cast<int>(ids.size() - next.size());
      const std::vector<float> logits = model_->run({{0, position, next}});
      const auto last = row(logits, next.size() - 1);
      const auto token = static_cast<int32_t>(std::max_element(last.begin(), last.end()) - last.begin());
      ASSERT_EQ(token, expected[step]) << key(p, "step ") << step;
      ids.push_back(token);
      next = {token};
    }
  }
}

// fp32 engine's rows of the fixtures' tolerance table.
INSTANTIATE_TEST_SUITE_P(All, Golden,
                         testing::Values(GoldenCase{"bf16", "w", 1e-5, 2e-5, 5e-5, 5e-4, 0.001},
                                         GoldenCase{"fp8", "w", 1e-5, 2e-5, 5e-5, 5e-4, 0.001},
                                         GoldenCase{"nvfp4", "w", 1e-5, 2e-5, 5e-5, 5e-4, 0.001},
                                         GoldenCase{"fp8", "wkv", 0.01, 0.03, 0.04, 0.2, 0.15},
                                         GoldenCase{"nvfp4", "wkv", 0.01, 0.03, 0.04, 0.2, 0.15},
                                         GoldenCase{"fp8", "wa", 0.03, 0.10, 0.2, 1.0, 0.7},
                                         GoldenCase{"fp8", "wakv", 0.03, 0.10, 0.2, 1.0, 0.7},
                                         GoldenCase{"nvfp4", "wa", 0.02, 0.35, 0.35, 2.5, 2.0},
                                         GoldenCase{"nvfp4", "wakv", 0.02, 0.35, 0.35, 2.5, 2.0}),
                         name_of);

}  // namespace
}  // namespace outrider::test

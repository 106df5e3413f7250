// End to end against transformers' outputs, for any engine that can run pieces of prompts and give every
// row's logits. What the keys mean and where the bounds come from: tests/cpu/README.md.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "cpu/safetensors_reader.h"

namespace outrider::test {

// New tokens of one sequence to run together with others.
struct Piece {
  int sequence = 0;
  int first_position = 0;
  std::span<const int32_t> tokens;
};

struct GoldenCase {
  std::string form, mode;
  double rel_median, rel_max, lp_mean, lp_p99, gap;
};

inline std::string name_of(const testing::TestParamInfo<GoldenCase>& info) {
  return info.param.form + "_" + info.param.mode;
}

// What gtest prints for a case.
inline void PrintTo(const GoldenCase& c, std::ostream* out) { *out << c.form << "." << c.mode; }

// |a - b| / |b|, both after subtracting their means: a constant shift of the logits changes no probability.
inline double relative_error(std::span<const float> a, std::span<const float> b) {
  const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / a.size();
  const double mean_b = std::accumulate(b.begin(), b.end(), 0.0) / b.size();
  double difference = 0.0, norm = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow((a[i] - mean_a) - (b[i] - mean_b), 2);
    norm += std::pow(b[i] - mean_b, 2);
  }
  return std::sqrt(difference / norm);
}

inline double logprob(std::span<const float> logits, int32_t token) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (float logit : logits) sum += std::exp(logit - max);
  return logits[token] - max - std::log(sum);
}

inline double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(q * values.size()))];
}

// A form and mode of tests/fixtures' goldens, and a Model with config() and run(pieces) -> logits of every
// row.
template <typename Model>
class GoldenRun {
 public:
  GoldenRun(const GoldenCase& bound, Model& model)
      : bound_(bound),
        golden_(fixture("goldens/tiny-a-" + bound.form + "." + bound.mode + ".safetensors")),
        model_(model) {}

  void check_prompts() {
    // Where activations are rounded, a last-bit difference may become a step, and a narrow choice of the last
    // row's router another expert: a jump, not an error. Such prompts count for the median only.
    const double narrow = bound_.mode.find("wa") == 0 ? 0.02 : 0.0;
    std::vector<double> rel, rel_where_clear, lp;
    for (int p = 0; p < kPrompts; ++p) {
      const std::vector<int32_t> ids = golden_[key(p, "ids")].ints();
      const std::vector<float> logits = model_.run({{0, 0, ids}});
      rel.push_back(relative_error(row(logits, ids.size() - 1), golden_[key(p, "last_logits")].floats()));
      if (golden_[key(p, "router_margin")].floats().back() >= narrow) rel_where_clear.push_back(rel.back());
      const std::vector<float> expected = golden_[key(p, "logprobs")].floats();
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        lp.push_back(std::fabs(logprob(row(logits, i), ids[i + 1]) - expected[i]));
      }
    }
    EXPECT_GE(rel_where_clear.size(), 9u);
    EXPECT_LE(quantile(rel, 0.5), bound_.rel_median);
    EXPECT_LE(quantile(rel_where_clear, 1.0), bound_.rel_max);
    EXPECT_LE(std::accumulate(lp.begin(), lp.end(), 0.0) / lp.size(), bound_.lp_mean);
    EXPECT_LE(quantile(lp, 0.99), bound_.lp_p99);
  }

  // `breaks`: prompts that may leave the golden at a step that is not narrow.
  void check_greedy(int breaks) {
    for (int p = 0; p < kPrompts; ++p) {
      std::vector<int32_t> ids = golden_[key(p, "ids")].ints();
      const std::vector<int32_t> expected = golden_[key(p, "greedy_ids")].ints();
      const std::vector<float> gap = golden_[key(p, "greedy_gap")].floats();
      std::vector<int32_t> next = ids;
      for (size_t step = 0; step < expected.size() && gap[step] >= bound_.gap; ++step) {
        const int position = static_cast<int>(ids.size() - next.size());
        const std::vector<float> logits = model_.run({{0, position, next}});
        const auto last = row(logits, next.size() - 1);
        const auto token = static_cast<int32_t>(std::max_element(last.begin(), last.end()) - last.begin());
        if (token != expected[step]) {
          EXPECT_GE(--breaks, 0) << key(p, "step ") << step << ": " << token << " instead of "
                                 << expected[step];
          break;
        }
        ids.push_back(token);
        next = {token};
      }
    }
  }

 private:
  static constexpr int kPrompts = 12;
  static std::string key(int prompt, const std::string& what) {
    return (prompt < 10 ? "p0" : "p") + std::to_string(prompt) + "." + what;
  }
  std::span<const float> row(const std::vector<float>& logits, size_t i) const {
    const size_t vocab = model_.config().vocab_size;
    return {logits.data() + i * vocab, vocab};
  }

  const GoldenCase& bound_;
  SafetensorsFile golden_;
  Model& model_;
};

}  // namespace outrider::test

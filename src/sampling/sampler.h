// From one row of logits to a token, in vLLM's order:
//   raw logprobs; a grammar's mask; allowed ids; bad words; min_tokens; logit_bias; repetition, frequency,
//   presence penalties; greedy: argmax. Otherwise temperature, min_p, top_k, top_p, draw.
// The draw depends on the row, the parameters, the history, the seed and the output index: never on the
// batch. Logits from a broken model do no harm: NaN counts as -inf, and a row of nothing else yields token 0.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "sampling/history.h"
#include "sampling/params.h"

namespace outrider::sampling {

// Below this a temperature means greedy, as in vLLM.
inline constexpr double kGreedyTemperature = 1e-5;

// The logit of a token that may not be drawn.
inline constexpr float kMasked = -std::numeric_limits<float>::infinity();

struct Sample {
  int32_t token = 0;
  std::optional<PositionLogprobs> logprobs;  // when params.logprobs is set
};

// Owns scratch memory: one for each thread that samples.
class Sampler {
 public:
  // Overwrites `logits` [vocab, at least 1]. `output_index` = tokens the request has sampled before. `mask`:
  // bits of the ids that may be taken, all of the row's; empty: any.
  Sample sample(std::span<float> logits, const SamplingParams& params, const TokenHistory& history,
                int output_index, std::span<const uint32_t> mask = {});

 private:
  struct Candidate {
    int32_t token;
    float logit;
  };
  int32_t draw(std::span<float> logits, const SamplingParams& params, int output_index);
  void keep_top_k(std::span<float> logits, int64_t k);
  void keep_top_p(std::span<float> logits, double p);

  std::vector<float> raw_, sorted_;
  std::vector<Candidate> candidates_;
  std::vector<double> weights_;  // cumulative
};

// Log-probability and rank of `token` in a row, and the `top` best; as logits where params says so. NaN
// counts as -inf.
PositionLogprobs logprobs_of(std::span<const float> logits, int32_t token, int top, bool as_logits);

// NaN -> -inf, +inf -> the largest finite value, so that later arithmetic cannot make NaN.
void sanitize(std::span<float> logits);

// Every step up to the penalties.
void apply_constraints(std::span<float> logits, const SamplingParams& params, const TokenHistory& history,
                       int output_index);

}  // namespace outrider::sampling

// What a request asks of the sampler. Plain data; validated by the server before it gets here.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace outrider::sampling {

struct SamplingParams {
  double temperature = 1.0;  // 0: greedy (then top_k, top_p, min_p do nothing)
  double top_p = 1.0;        // (0, 1]
  int64_t top_k = 0;         // 0: off
  double min_p = 0.0;        // [0, 1]
  double repetition_penalty = 1.0;
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  uint64_t seed = 0;  // always set: the server draws one when the request has none
  std::vector<std::pair<int32_t, float>> logit_bias;
  std::vector<int32_t> allowed_token_ids;       // empty: all
  std::vector<std::vector<int32_t>> bad_words;  // token sequences that must not be completed
  std::optional<int> logprobs;         // top-k logprobs of each sampled token; 0: only the sampled one
  std::optional<int> prompt_logprobs;  // the same of each prompt token
  bool processed_logprobs = false;     // --logprobs-mode processed_*: after penalties and temperature
  bool logprobs_are_logits = false;    // --logprobs-mode *_logits
  // Stopping, known to scheduler and sampler (min_tokens masks eos and stop ids).
  int64_t max_tokens = 16;
  int64_t min_tokens = 0;
  bool ignore_eos = false;
  std::vector<int32_t> eos_token_ids;   // end without stop_reason
  std::vector<int32_t> stop_token_ids;  // end with the id as stop_reason
};

// One alternative: log-probability under the model's own distribution and its 1-based rank.
struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0.0f;
  int32_t rank = 0;
};

// Of one position. `chosen` is the sampled (or given prompt) token; `top` the best k by rank.
struct PositionLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;
};

}  // namespace outrider::sampling

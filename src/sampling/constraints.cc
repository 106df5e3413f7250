// What changes a row before a token is chosen: masks, biases, penalties. Order and meaning follow vLLM's v1
// sampler.
#include <algorithm>
#include <cmath>
#include <limits>

#include "sampling/sampler.h"

namespace outrider::sampling {
namespace {

bool in_vocabulary(std::span<const float> logits, int32_t token) {
  return token >= 0 && static_cast<size_t>(token) < logits.size();
}

void mask(std::span<float> logits, int32_t token) {
  if (in_vocabulary(logits, token)) logits[token] = kMasked;
}

void keep_only(std::span<float> logits, const std::vector<int32_t>& allowed) {
  std::vector<std::pair<int32_t, float>> kept;
  kept.reserve(allowed.size());
  for (int32_t token : allowed) {
    if (in_vocabulary(logits, token)) kept.emplace_back(token, logits[token]);
  }
  std::fill(logits.begin(), logits.end(), kMasked);
  for (const auto& [token, logit] : kept) logits[token] = logit;
}

// Masks the last token of each sequence whose other tokens end the output.
void mask_bad_words(std::span<float> logits, const std::vector<std::vector<int32_t>>& words,
                    const std::vector<int32_t>& output) {
  for (const std::vector<int32_t>& word : words) {
    if (word.empty() || word.size() - 1 > output.size()) continue;
    const auto prefix = static_cast<std::ptrdiff_t>(word.size()) - 1;
    if (std::equal(word.begin(), word.end() - 1, output.end() - prefix)) mask(logits, word.back());
  }
}

void penalize(std::span<float> logits, const SamplingParams& params, const TokenHistory& history) {
  const auto repetition = static_cast<float>(params.repetition_penalty);
  const auto frequency = static_cast<float>(params.frequency_penalty);
  const auto presence = static_cast<float>(params.presence_penalty);
  if (repetition == 1.0f && frequency == 0.0f && presence == 0.0f) return;
  for (const auto& [token, count] : history.output_counts()) {
    if (!in_vocabulary(logits, token)) continue;
    float& logit = logits[token];
    logit = logit > 0.0f ? logit / repetition : logit * repetition;
    logit -= frequency * static_cast<float>(count);
    if (count > 0) logit -= presence;
  }
}

}  // namespace

void sanitize(std::span<float> logits) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  for (float& logit : logits) logit = std::isnan(logit) ? kMasked : std::min(logit, kLargest);
}

void apply_constraints(std::span<float> logits, const SamplingParams& params, const TokenHistory& history,
                       int output_index) {
  if (!params.allowed_token_ids.empty()) keep_only(logits, params.allowed_token_ids);
  mask_bad_words(logits, params.bad_words, history.output());
  if (output_index < params.min_tokens) {
    for (int32_t token : params.eos_token_ids) mask(logits, token);
    for (int32_t token : params.stop_token_ids) mask(logits, token);
  }
  for (const auto& [token, bias] : params.logit_bias) {
    if (in_vocabulary(logits, token)) logits[token] += bias;
  }
  penalize(logits, params, history);
  sanitize(logits);
}

}  // namespace outrider::sampling

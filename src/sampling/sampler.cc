#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "sampling/philox.h"

namespace outrider::sampling {
namespace {

// Lowest index among equals; 0 when everything is masked.
int32_t argmax(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

void apply_temperature(std::span<float> logits, double temperature) {
  if (temperature == 1.0) return;
  // Relative to the maximum, so that a tiny temperature cannot overflow; a common shift changes no
  // probability.
  const float max = logits[argmax(logits)];
  if (max == kMasked) return;
  for (float& logit : logits) logit = static_cast<float>((double{logit} - max) / temperature);
}

// Keeps tokens whose probability is at least min_p times the best one's.
void keep_min_p(std::span<float> logits, double min_p) {
  if (min_p <= 0.0) return;
  const double threshold = logits[argmax(logits)] + std::log(min_p);
  for (float& logit : logits) {
    if (logit < threshold) logit = kMasked;
  }
}

void apply_mask(std::span<float> logits, std::span<const uint32_t> mask) {
  for (size_t i = 0; i < logits.size(); ++i) {
    if ((mask[i / 32] >> (i % 32) & 1) == 0) logits[i] = kMasked;
  }
}

}  // namespace

Sample Sampler::sample(std::span<float> logits, const SamplingParams& params, const TokenHistory& history,
                       int output_index, std::span<const uint32_t> mask) {
  sanitize(logits);
  const bool raw = params.logprobs && !params.processed_logprobs;
  // The raw distribution is needed after the token is known.
  if (raw) raw_.assign(logits.begin(), logits.end());

  if (!mask.empty()) apply_mask(logits, mask);
  apply_constraints(logits, params, history, output_index);
  Sample result;
  result.token =
      params.temperature < kGreedyTemperature ? argmax(logits) : draw(logits, params, output_index);
  if (params.logprobs) {
    result.logprobs = logprobs_of(raw ? std::span<const float>(raw_) : logits, result.token, *params.logprobs,
                                  params.logprobs_are_logits);
  }
  return result;
}

// Leaves the processed logits in the row.
int32_t Sampler::draw(std::span<float> logits, const SamplingParams& params, int output_index) {
  apply_temperature(logits, params.temperature);
  keep_min_p(logits, params.min_p);
  if (params.top_k > 0) keep_top_k(logits, params.top_k);
  if (params.top_p < 1.0) keep_top_p(logits, params.top_p);

  const float max = logits[argmax(logits)];
  if (max == kMasked) return 0;
  // Inverse of the cumulative distribution in order of the ids.
  weights_.resize(logits.size());
  double total = 0.0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] != kMasked) total += std::exp(double{logits[i]} - max);
    weights_[i] = total;
  }
  const double target = uniform(params.seed, static_cast<uint64_t>(output_index)) * total;
  auto chosen = std::upper_bound(weights_.begin(), weights_.end(), target);
  // Rounding of the product can reach the total: take the last token that has weight.
  if (chosen == weights_.end()) chosen = std::lower_bound(weights_.begin(), weights_.end(), total);
  return static_cast<int32_t>(chosen - weights_.begin());
}

// Tokens equal to the k-th best stay too, as in vLLM.
void Sampler::keep_top_k(std::span<float> logits, int64_t k) {
  if (k >= static_cast<int64_t>(logits.size())) return;
  sorted_.assign(logits.begin(), logits.end());
  std::nth_element(sorted_.begin(), sorted_.begin() + (k - 1), sorted_.end(), std::greater<>());
  const float threshold = sorted_[k - 1];
  for (float& logit : logits) {
    if (logit < threshold) logit = kMasked;
  }
}

// Keeps the most probable tokens until their sum reaches p, at least one. Among equals the lowest ids go
// first.
void Sampler::keep_top_p(std::span<float> logits, double p) {
  const float max = logits[argmax(logits)];
  if (max == kMasked) return;
  candidates_.clear();
  double total = 0.0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] == kMasked) continue;
    total += std::exp(double{logits[i]} - max);
    candidates_.push_back({static_cast<int32_t>(i), logits[i]});
  }
  auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  // Sort only as far as needed: the nucleus is mostly a few tokens of 200 000.
  double before = 0.0;  // sum of the tokens kept
  size_t kept = 0, sorted = 0;
  while (kept < candidates_.size() && (kept == 0 || before < p * total)) {
    if (kept == sorted) {
      sorted = std::min(candidates_.size(), std::max<size_t>(64, sorted * 8));
      std::partial_sort(candidates_.begin() + kept, candidates_.begin() + sorted, candidates_.end(), better);
    }
    before += std::exp(double{candidates_[kept++].logit} - max);
  }
  for (size_t i = kept; i < candidates_.size(); ++i) logits[candidates_[i].token] = kMasked;
}

}  // namespace outrider::sampling

// The distribution that a sampler must draw from, computed slowly and apart from the product's code: every
// step builds a new vector of probabilities or logits, sorts everything, and follows vLLM's documentation,
// not our implementation.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "sampling/params.h"

namespace outrider::test {

using Row = std::vector<double>;
inline constexpr double kNever = -std::numeric_limits<double>::infinity();

inline Row softmax(const Row& logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  Row p(logits.size());
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += p[i] = logits[i] == kNever ? 0.0 : std::exp(logits[i] - max);
  for (double& x : p) x /= sum;
  return p;
}

// Token ids by falling probability, lower id first among equals.
inline std::vector<int> ranking(const Row& p) {
  std::vector<int> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return p[a] > p[b]; });
  return order;
}

inline Row constrained_logits(Row logits, const sampling::SamplingParams& s, const std::vector<int>& prompt,
                              const std::vector<int>& output) {
  const int vocab = static_cast<int>(logits.size());
  std::set<int> masked;
  if (!s.allowed_token_ids.empty()) {
    const std::set<int> allowed(s.allowed_token_ids.begin(), s.allowed_token_ids.end());
    for (int t = 0; t < vocab; ++t) {
      if (!allowed.count(t)) masked.insert(t);
    }
  }
  for (const auto& word : s.bad_words) {
    std::vector<int> completed = output;
    completed.push_back(word.back());
    if (completed.size() >= word.size() && std::equal(word.rbegin(), word.rend(), completed.rbegin())) {
      masked.insert(word.back());
    }
  }
  if (static_cast<int64_t>(output.size()) < s.min_tokens) {
    masked.insert(s.eos_token_ids.begin(), s.eos_token_ids.end());
    masked.insert(s.stop_token_ids.begin(), s.stop_token_ids.end());
  }
  for (int t : masked) {
    if (t < vocab) logits[t] = kNever;
  }
  for (const auto& [token, bias] : s.logit_bias) logits[token] += bias;
  for (int t = 0; t < vocab; ++t) {
    const auto in_output = std::count(output.begin(), output.end(), t);
    const bool seen = in_output > 0 || std::count(prompt.begin(), prompt.end(), t) > 0;
    if (seen) logits[t] = logits[t] > 0 ? logits[t] / s.repetition_penalty : logits[t] * s.repetition_penalty;
    logits[t] -= s.frequency_penalty * static_cast<double>(in_output);
    if (in_output > 0) logits[t] -= s.presence_penalty;
  }
  return logits;
}

inline Row expected_distribution(const Row& raw, const sampling::SamplingParams& s,
                                 const std::vector<int>& prompt, const std::vector<int>& output) {
  Row logits = constrained_logits(raw, s, prompt, output);
  for (double& l : logits) l /= s.temperature;
  Row p = softmax(logits);
  const double least = s.min_p * *std::max_element(p.begin(), p.end());
  for (size_t t = 0; t < p.size(); ++t) {
    if (p[t] < least) logits[t] = kNever;
  }
  p = softmax(logits);
  if (s.top_k > 0 && s.top_k < static_cast<int64_t>(p.size())) {
    const double threshold = logits[ranking(p)[s.top_k - 1]];
    for (double& l : logits) {
      if (l < threshold) l = kNever;
    }
  }
  p = softmax(logits);
  if (s.top_p < 1.0) {
    double before = 0;
    for (int t : ranking(p)) {
      if (before >= s.top_p) logits[t] = kNever;
      before += p[t];
    }
  }
  return softmax(logits);
}

}  // namespace outrider::test

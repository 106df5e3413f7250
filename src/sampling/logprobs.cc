#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "sampling/sampler.h"

namespace outrider::sampling {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

float without_nan(float logit) { return std::isnan(logit) ? kLowest : logit; }

// log(sum(exp(logits))); -inf when every logit is.
double log_sum_exp(std::span<const float> logits, float max) {
  if (max == kLowest) return kLowest;
  double sum = 0.0;
  for (float logit : logits) sum += std::exp(static_cast<double>(without_nan(logit)) - max);
  return max + std::log(sum);
}

// The `count` best tokens, lowest id first among equals.
std::vector<int32_t> best_tokens(std::span<const float> logits, int count) {
  auto better = [&](int32_t a, int32_t b) {
    const float la = without_nan(logits[a]), lb = without_nan(logits[b]);
    return la != lb ? la > lb : a < b;
  };
  // A heap of the best so far with the worst on top: one comparison a logit, no copy of the row.
  std::vector<int32_t> heap;
  for (int32_t token = 0; token < static_cast<int32_t>(logits.size()); ++token) {
    if (static_cast<int>(heap.size()) < count) {
      heap.push_back(token);
      std::push_heap(heap.begin(), heap.end(), better);
    } else if (count > 0 && better(token, heap.front())) {
      std::pop_heap(heap.begin(), heap.end(), better);
      heap.back() = token;
      std::push_heap(heap.begin(), heap.end(), better);
    }
  }
  std::sort_heap(heap.begin(), heap.end(), better);
  return heap;
}

}  // namespace

PositionLogprobs logprobs_of(std::span<const float> logits, int32_t token, int top, bool as_logits) {
  float max = kLowest;
  for (float logit : logits) max = std::max(max, without_nan(logit));
  const double normalizer = as_logits ? 0.0 : log_sum_exp(logits, max);
  auto value_of = [&](float logit) {
    if (logit == kLowest) return kLowest;
    return static_cast<float>(static_cast<double>(logit) - normalizer);
  };

  PositionLogprobs result;
  const bool known = token >= 0 && static_cast<size_t>(token) < logits.size();
  const float own = known ? without_nan(logits[token]) : kLowest;
  const auto larger = std::count_if(logits.begin(), logits.end(), [own](float logit) { return logit > own; });
  result.chosen = {token, value_of(own), static_cast<int32_t>(larger) + 1};

  int32_t rank = 0;
  for (int32_t best : best_tokens(logits, std::min<int64_t>(top, static_cast<int64_t>(logits.size())))) {
    result.top.push_back({best, value_of(without_nan(logits[best])), ++rank});
  }
  return result;
}

}  // namespace outrider::sampling

// What no sensible client asks for, and what a request may hold all the same.
#pragma once

#include <initializer_list>
#include <random>

#include "sampling/params.h"

namespace outrider::test {

// Extreme values and ids outside any vocabulary. It asks for fewer logprobs than `logprobs_below`.
inline sampling::SamplingParams hostile_params(std::mt19937& random, unsigned logprobs_below) {
  const auto pick = [&](std::initializer_list<double> values) {
    return values.begin()[random() % values.size()];
  };
  const auto id = [&] { return static_cast<int32_t>(random() % 40) - 10; };
  sampling::SamplingParams params;
  params.temperature = pick({0, 1e-4, 1, 2, 1e30});
  params.top_p = pick({1e-9, 0.5, 1});
  params.min_p = pick({0, 0.5, 1});
  params.top_k = static_cast<int64_t>(pick({0, 1, 5, 1e15}));
  params.repetition_penalty = pick({1e-3, 1, 1e3});
  params.frequency_penalty = pick({-2, 0, 2});
  params.logit_bias = {{id(), static_cast<float>(pick({-100, 100, 3e38}))}};
  params.bad_words = {{}, {id()}};
  params.min_tokens = 1;
  params.eos_token_ids = {id()};
  if (random() % 4 == 0) params.allowed_token_ids = {-5, 1, 1000000};
  params.logprobs = static_cast<int>(random() % logprobs_below);
  params.processed_logprobs = random() % 2;
  params.seed = random();
  return params;
}

}  // namespace outrider::test

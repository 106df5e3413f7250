#include "engine/sequence.h"

#include <algorithm>

namespace outrider::engine {

std::optional<Stop> find_stop(const Sequence& sequence) {
  const sampling::SamplingParams& params = *sequence.params;
  int32_t token = sequence.tokens.back();
  // An ending token in the last place that max_tokens allows ends as "stop": the answer is whole.
  if (sequence.num_outputs() > params.min_tokens) {
    bool is_eos = std::ranges::count(params.eos_token_ids, token) > 0;
    if (is_eos && !params.ignore_eos) return Stop{FinishReason::kStop, std::nullopt};
    if (std::ranges::count(params.stop_token_ids, token) > 0) return Stop{FinishReason::kStop, token};
  }
  if (sequence.num_outputs() >= sequence.max_outputs) return Stop{FinishReason::kLength, std::nullopt};
  return std::nullopt;
}

}  // namespace outrider::engine

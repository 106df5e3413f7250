#include "sampling/history.h"

namespace outrider::sampling {

TokenHistory::TokenHistory(std::span<const int32_t> prompt, std::span<const int32_t> output) {
  for (int32_t token : prompt) counts_.try_emplace(token, 0);
  for (int32_t token : output) append(token);
}

void TokenHistory::append(int32_t token) {
  output_.push_back(token);
  ++counts_[token];
}

}  // namespace outrider::sampling

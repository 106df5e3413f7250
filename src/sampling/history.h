// The tokens of one request as the sampler needs them: what the prompt and the output hold, and how often.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace outrider::sampling {

class TokenHistory {
 public:
  TokenHistory() = default;
  TokenHistory(std::span<const int32_t> prompt, std::span<const int32_t> output);

  void append(int32_t token);  // a sampled token

  const std::vector<int32_t>& output() const { return output_; }
  // Each distinct token of prompt and output, with its number in the output (0: prompt only).
  const std::unordered_map<int32_t, int>& output_counts() const { return counts_; }

 private:
  std::vector<int32_t> output_;
  std::unordered_map<int32_t, int> counts_;
};

}  // namespace outrider::sampling

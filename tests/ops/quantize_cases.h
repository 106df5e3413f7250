// Rounding of activations and quantised products against ModelOpt's (fixtures/ops): which tensors, and how
// close.
#pragma once

#include <string>
#include <vector>

namespace outrider::test {

inline const std::vector<std::string>& quantized_projections() {
  static const std::vector<std::string> names = {
      "self_attn.q_proj",
      "self_attn.k_proj",
      "self_attn.v_proj",
      "self_attn.o_proj",
      "feed_forward.shared_expert.gate_proj",
      "feed_forward.shared_expert.up_proj",
      "feed_forward.shared_expert.down_proj",
      "feed_forward.experts.gate_up_proj",
      "feed_forward.experts.down_proj",
  };
  return names;
}
inline constexpr int kQuantizedLayers[] = {0, 3};

// Where a kernel multiplies by a reciprocal a tie may go the other way; a kernel that divides meets every
// code.
inline constexpr double kCodesOffByOne = 0.01;  // share of the elements
// From the given codes: |y - golden| / |golden| over the matrix.
inline constexpr double kProductBoundF32 = 1e-5;
inline constexpr double kProductBoundBf16 = 4e-3;

}  // namespace outrider::test

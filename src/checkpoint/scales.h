// Quantisation scales: one wrong value and every answer is noise, so each is checked when it is read.
#pragma once

#include <vector>

#include "checkpoint/safetensors.h"

namespace outrider::checkpoint {

// The values of a scale tensor, one for each of `count` experts: a scalar ([] or [1]) stands for all, [count]
// for each. Throws CheckpointError naming the tensor: another shape or dtype; NaN, infinite, zero or
// negative.
std::vector<float> read_scales(const Tensor& tensor, int count);

// Throws CheckpointError when an e4m3 block scale is NaN or negative. Zero stands for a block of zeros and is
// legal. Reads the tensors in full, on all cores.
void check_block_scales(const std::vector<const Tensor*>& tensors);

}  // namespace outrider::checkpoint

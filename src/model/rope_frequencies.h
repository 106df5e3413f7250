#pragma once

#include <vector>

#include "model/config.h"

namespace outrider::model {

// Rotation frequencies [head_dim / 2] with llama3 scaling, in fp32 as the reference implementation has them.
// Source: transformers, modeling_rope_utils.py, _compute_llama3_parameters.
std::vector<float> rope_frequencies(const LlamaConfig& config);

}  // namespace outrider::model

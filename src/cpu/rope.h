// What Llama 4 does to q and k between projection and attention: rotation and QK norm, or attention
// temperature.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"

namespace outrider::cpu {

// cos and sin of one position's angles, interleaved: out[2j] = cos, out[2j + 1] = sin.
void rope_angles(const std::vector<float>& frequencies, int64_t position, float* out);

// Rotates adjacent pairs (x[2j], x[2j+1]) of each of `heads` heads.
void rope_rotate(const float* angles, int heads, int head_dim, float* x);

// x / sqrt(mean(x^2) + eps) in each head, without weight.
void qk_norm(int heads, int head_dim, float eps, float* x);

// Factor on q in NoPE layers; `position` counts from 0.
float attention_temperature(const model::LlamaConfig& config, int64_t position);

}  // namespace outrider::cpu

// y = x / sqrt(mean(x^2) + eps) * weight, one row.
#pragma once

#include <cstdint>

namespace outrider::cpu {

// `weight` is bf16 [n]. x and y may be the same.
void rms_norm(const float* x, const uint16_t* weight, int n, float eps, float* y);

}  // namespace outrider::cpu

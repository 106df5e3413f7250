// Activations as the checkpoint's quantised kernels see them, for --activation-quantization checkpoint.
// Values stay fp32: each is exactly a code (FP8) or a code times its block's scale (NVFP4); the static scale
// is left to the product.
#pragma once

#include "model/weights.h"

namespace outrider::cpu {

// FP8: e4m3(x / input_scale), saturating.
void quantize_fp8(const float* x, int n, float input_scale, float* y);

// NVFP4: per 16 elements a scale s = e4m3(amax / (6 * input_scale)), then e2m1(x / (s * input_scale)) * s.
void quantize_nvfp4(const float* x, int n, float input_scale, float* y);

}  // namespace outrider::cpu

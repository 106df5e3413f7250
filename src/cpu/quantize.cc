// Plain code, one division an element: a setting for comparison with GPU kernels, not for speed.
#include "cpu/quantize.h"

#include <algorithm>
#include <cmath>

#include "cpu/number_formats.h"

namespace outrider::cpu {

void quantize_fp8(const float* x, int n, float input_scale, float* y) {
  for (int i = 0; i < n; ++i) y[i] = e4m3_to_float(float_to_e4m3(x[i] / input_scale));
}

void quantize_nvfp4(const float* x, int n, float input_scale, float* y) {
  for (int begin = 0; begin < n; begin += kNvfp4Block) {
    float amax = 0.0f;
    for (int i = begin; i < begin + kNvfp4Block; ++i) amax = std::max(amax, std::fabs(x[i]));
    const float scale = e4m3_to_float(float_to_e4m3(amax / (kE2m1Max * input_scale)));
    for (int i = begin; i < begin + kNvfp4Block; ++i) {
      y[i] = scale > 0.0f ? e2m1_to_float(float_to_e2m1(x[i] / (scale * input_scale))) * scale : 0.0f;
    }
  }
}

}  // namespace outrider::cpu

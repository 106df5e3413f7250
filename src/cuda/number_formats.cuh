// Conversions between fp32 and the formats in memory, rounding to nearest even; FP8 saturates at 448, as the
// checkpoints' own quantiser does.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <cstdint>

namespace outrider::cuda {

using bf16 = __nv_bfloat16;

__device__ __forceinline__ uint8_t to_e4m3(float x) {
  return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
}

// Two at once: the first in the low byte.
__device__ __forceinline__ uint16_t to_e4m3x2(float a, float b) {
  return __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
}

// Divides as __fdiv_rn does, without its branches, for quotients that become FP8: with a correctly rounded
// reciprocal one correction makes the quotient correctly rounded (Markstein 1990), unless it overflows or
// underflows; then FP8 saturates or is zero all the same.
class Divisor {
 public:
  __device__ __forceinline__ explicit Divisor(float value) {
    value_ = value;
    reciprocal_ = __frcp_rn(value);
  }
  __device__ __forceinline__ float quotient(float x) const {
    const float q = __fmul_rn(x, reciprocal_);
    const float corrected = __fmaf_rn(__fmaf_rn(-q, value_, x), reciprocal_, q);
    return fabsf(q) < 1e30f ? copysignf(corrected, q) : q;  // infinities leave no remainder, -0 the wrong one
  }

 private:
  float value_, reciprocal_;
};

__device__ __forceinline__ float from_e4m3(uint8_t code) {
  const __half_raw half = __nv_cvt_fp8_to_halfraw(code, __NV_E4M3);
  return __half2float(__half(half));
}

}  // namespace outrider::cuda

// The arithmetic that all attention kernels share: how runs of keys are folded, and where partial sums lie.
// Written with explicit roundings, so that the compiler contracts it the same way everywhere.
#pragma once

#include "cuda/attention.h"
#include "cuda/number_formats.cuh"

namespace outrider::cuda {

inline constexpr float kNoScore = -1e30f;  // maximum of no keys; finite, so that differences are

__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// A row's weights of one page's keys, relative to the new maximum: products q k times `scale` are scores in
// units of log2. `keep`: what sums so far are worth relative to it.
struct PageWeights {
  float max, keep, scale, offset;
  __device__ __forceinline__ PageWeights(float old_max, float largest_product, float score_scale,
                                         float weight_exponent) {
    max = fmaxf(old_max, __fmul_rn(largest_product, score_scale));
    keep = exp2_approx(__fsub_rn(old_max, max));
    scale = score_scale;
    offset = __fsub_rn(weight_exponent, max);
  }
  __device__ __forceinline__ float weight(float product) const {
    return exp2_approx(__fmaf_rn(product, scale, offset));
  }
};

// Maximum (of scores times log2 e) and sum of weights of the runs so far.
struct RunFold {
  float max = kNoScore;
  float sum = 0.0f;
  // Takes in a run: total = total * keep + run's total * add, by fold_total().
  __device__ __forceinline__ void add(float run_max, float run_sum, float& keep, float& add) {
    const float new_max = fmaxf(max, run_max);
    keep = exp2_approx(max - new_max);
    add = exp2_approx(run_max - new_max);
    sum = __fmaf_rn(sum, keep, __fmul_rn(run_sum, add));
    max = new_max;
  }
};
__device__ __forceinline__ float fold_total(float total, float run_total, float keep, float add) {
  return __fmaf_rn(total, keep, __fmul_rn(run_total, add));
}
// `factor`: __fdiv_rn(v_scale, sum of the weights). Rounded to bf16 first, as the reference implementation
// does.
__device__ __forceinline__ void store_result(const ProductInput& out, int64_t index, float total,
                                             float factor) {
  const bf16 result = __float2bfloat16(__fmul_rn(total, factor));
  if (out.type == ElementType::kFp8) {
    static_cast<uint8_t*>(out.data)[index] = to_e4m3(Divisor(out.scale).quotient(__bfloat162float(result)));
  } else {
    static_cast<bf16*>(out.data)[index] = result;
  }
}

// Of `index`, an even one, and the next. `divisor`: out.scale.
__device__ __forceinline__ void store_results(const ProductInput& out, const Divisor& divisor, int64_t index,
                                              float total, float next, float factor) {
  __nv_bfloat162 result;
  result.x = __float2bfloat16(__fmul_rn(total, factor));
  result.y = __float2bfloat16(__fmul_rn(next, factor));
  if (out.type == ElementType::kFp8) {
    *reinterpret_cast<uint16_t*>(static_cast<uint8_t*>(out.data) + index) =
        to_e4m3x2(divisor.quotient(__bfloat162float(result.x)), divisor.quotient(__bfloat162float(result.y)));
  } else {
    *reinterpret_cast<__nv_bfloat162*>(static_cast<bf16*>(out.data) + index) = result;
  }
}

// A partial sum of one (row, head): totals [head_dim], maximum, sum.
__device__ __forceinline__ int64_t partial_offset(int partial, int head, int heads, int head_dim) {
  return (int64_t{partial} * heads + head) * (head_dim + 2);
}

}  // namespace outrider::cuda

// What becomes of one head of q, k or v between the qkv product and attention, by one warp: a lane has
// head_dim / 32 neighbouring channels, so whole pairs. With explicit roundings: several kernels do this and
// must agree in every bit.
#pragma once

#include "cuda/kv_image.cuh"
#include "cuda/number_formats.cuh"
#include "cuda/qkv_finish.h"

namespace outrider::cuda {

// A lane's channels of one head.
template <int kHeadDim>
struct Lane {
  static constexpr int kCount = kHeadDim / 32;
  float value[kCount];
};

template <int kHeadDim>
__device__ __forceinline__ Lane<kHeadDim> load_head(const bf16* head) {
  Lane<kHeadDim> x;
  const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(head) + threadIdx.x % 32 * (x.kCount / 2);
#pragma unroll
  for (int i = 0; i < x.kCount / 2; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    x.value[2 * i] = pair.x;
    x.value[2 * i + 1] = pair.y;
  }
  return x;
}

template <int kHeadDim>
__device__ __forceinline__ void store_head(bf16* head, const Lane<kHeadDim>& x) {
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(head) + threadIdx.x % 32 * (x.kCount / 2);
#pragma unroll
  for (int i = 0; i < x.kCount / 2; ++i) {
    pairs[i] = __floats2bfloat162_rn(x.value[2 * i], x.value[2 * i + 1]);
  }
}

__device__ __forceinline__ void turn_pair(float& x, float& y, float cosine, float sine) {
  const float a = x, b = y;
  x = __fmaf_rn(a, cosine, -__fmul_rn(b, sine));
  y = __fmaf_rn(a, sine, __fmul_rn(b, cosine));
}

// cos and sin of the angles of this lane's pairs. In fp32 with the full-range functions, as the reference
// implementation: positions multiply the frequencies' rounding.
template <int kHeadDim>
struct Rotation {
  static constexpr int kPairs = kHeadDim / 64;
  float cosine[kPairs], sine[kPairs];

  __device__ __forceinline__ void at(const float* frequencies, int position) {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const float angle = __fmul_rn(static_cast<float>(position), frequencies[threadIdx.x % 32 * kPairs + i]);
      sincosf(angle, &sine[i], &cosine[i]);
    }
  }
  __device__ __forceinline__ void apply(Lane<kHeadDim>& x) const {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      turn_pair(x.value[2 * i], x.value[2 * i + 1], cosine[i], sine[i]);
    }
  }
};

// x / sqrt(mean(x^2) + eps)
template <int kHeadDim>
__device__ __forceinline__ void normalise(Lane<kHeadDim>& x, float eps) {
  float sum = 0.0f;
#pragma unroll
  for (float value : x.value) sum = __fmaf_rn(value, value, sum);
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
  const float factor = __frcp_rn(__fsqrt_rn(sum / kHeadDim + eps));
#pragma unroll
  for (float& value : x.value) value *= factor;
}

// A head of q or k, where the layer has RoPE.
template <int kHeadDim>
__device__ __forceinline__ void turn(const QkvFinish& finish, const Rotation<kHeadDim>& rotation,
                                     Lane<kHeadDim>& x) {
  if (!finish.rope_frequencies) return;
  rotation.apply(x);
  if (finish.use_qk_norm) normalise(x, finish.qk_norm_eps);
}

// K of one position: a lane's channels lie in one 16-byte piece of the image.
template <model::KvDtype kDtype, int kHeadDim>
__device__ __forceinline__ void store_key(uint8_t* image, int position, const Lane<kHeadDim>& x,
                                          const Divisor& scale) {
  constexpr int kCount = Lane<kHeadDim>::kCount;
  uint8_t* to =
      image + KvImage<kDtype, kHeadDim>::key_offset(position, static_cast<int>(threadIdx.x % 32) * kCount);
#pragma unroll
  for (int i = 0; i < kCount; i += 2) {
    const float a = x.value[i], b = x.value[i + 1];
    if constexpr (kDtype == model::KvDtype::kFp8E4m3) {
      *reinterpret_cast<uint16_t*>(to + i) = to_e4m3x2(scale.quotient(a), scale.quotient(b));
    } else {
      *reinterpret_cast<__nv_bfloat162*>(to + 2 * i) = __floats2bfloat162_rn(a, b);
    }
  }
}

template <model::KvDtype kDtype, int kHeadDim>
__device__ __forceinline__ void store_value(uint8_t* image, int position, const Lane<kHeadDim>& x,
                                            const Divisor& scale) {
  constexpr int kCount = Lane<kHeadDim>::kCount;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    uint8_t* to = image + KvImage<kDtype, kHeadDim>::value_offset(
                              position, static_cast<int>(threadIdx.x % 32) * kCount + i);
    if constexpr (kDtype == model::KvDtype::kFp8E4m3) {
      *to = to_e4m3(scale.quotient(x.value[i]));
    } else {
      *reinterpret_cast<bf16*>(to) = __float2bfloat16(x.value[i]);
    }
  }
}

__device__ __forceinline__ float temperature(const QkvFinish& call, int position) {
  const float steps = floorf(__fdiv_rn(static_cast<float>(position + 1), call.floor_scale));
  return 1.0f + call.attn_scale * logf(1.0f + steps);
}

// The page of the row's new position.
__device__ __forceinline__ uint8_t* page_of(const QkvFinish& call, int row) {
  const Batch& batch = call.batch;
  const int32_t* pages =
      batch.pages + (batch.sequence_of_row[row] * batch.num_groups + call.page_group) * batch.blocks_per_row;
  return call.cache.base + pages[batch.positions[row] / kPagePositions] * call.cache.page_stride;
}

}  // namespace outrider::cuda

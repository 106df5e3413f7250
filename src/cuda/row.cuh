// One row of bf16 in the registers of a block: 16 bytes a thread at a time.
#pragma once

#include <string>
#include <type_traits>

#include "cuda/device.h"
#include "cuda/elementwise.h"
#include "cuda/number_formats.cuh"

namespace outrider::cuda {

inline constexpr int kRowThreads = 256;
inline constexpr int kVector = 8;                       // bf16 values in 16 bytes
inline constexpr int kRowStep = kRowThreads * kVector;  // values that the threads of a row take at a time

// Calls f(std::integral_constant<int, kVectors>), kVectors: 16-byte pieces of a row that a thread takes.
template <typename F>
void with_row_vectors(int hidden, F&& f) {
  static_assert(kMaxRow == 4 * kRowStep);
  switch ((hidden + kRowStep - 1) / kRowStep) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 3:
      return f(std::integral_constant<int, 3>());
    case 4:
      return f(std::integral_constant<int, 4>());
    default:
      throw DeviceError("no kernel for rows of " + std::to_string(hidden));
  }
}

struct Vector {
  float value[kVector];
};

__device__ __forceinline__ Vector unpacked(const int4& raw) {
  const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(&raw);
  Vector v;
#pragma unroll
  for (int i = 0; i < kVector / 2; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    v.value[2 * i] = pair.x;
    v.value[2 * i + 1] = pair.y;
  }
  return v;
}

__device__ __forceinline__ Vector load_vector(const bf16* from) {
  return unpacked(*reinterpret_cast<const int4*>(from));
}

__device__ __forceinline__ int4 to_bf16x8(const Vector& v) {
  int4 raw;
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(&raw);
#pragma unroll
  for (int i = 0; i < kVector / 2; ++i) pairs[i] = __floats2bfloat162_rn(v.value[2 * i], v.value[2 * i + 1]);
  return raw;
}

__device__ __forceinline__ void store_bf16(bf16* to, const Vector& v) {
  *reinterpret_cast<int4*>(to) = to_bf16x8(v);
}

// Values as a bf16 tensor would hold them: where the reference implementation rounds, so does this.
__device__ __forceinline__ void round_to_bf16(Vector& v) {
#pragma unroll
  for (float& x : v.value) x = __bfloat162float(__float2bfloat16(x));
}

// As e4m3. Division, not a product with the reciprocal: the quantiser that made the checkpoint divides, and
// so codes are equal to its own.
__device__ __forceinline__ uint2 to_e4m3x8(const Vector& v, const Divisor& divisor) {
  uint2 codes;
  auto* pairs = reinterpret_cast<uint16_t*>(&codes);
#pragma unroll
  for (int i = 0; i < kVector / 2; ++i) {
    pairs[i] = to_e4m3x2(divisor.quotient(v.value[2 * i]), divisor.quotient(v.value[2 * i + 1]));
  }
  return codes;
}

// Element `index` onwards of a product's input.
__device__ __forceinline__ void store_input(ElementType type, void* data, int64_t index, const Vector& v,
                                            const Divisor& divisor) {
  if (type == ElementType::kBf16) return store_bf16(static_cast<bf16*>(data) + index, v);
  *reinterpret_cast<uint2*>(static_cast<uint8_t*>(data) + index) = to_e4m3x8(v, divisor);
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
  return x;
}

// The lane with the highest value, the lowest of equals; `highest` becomes that value.
__device__ __forceinline__ int best_lane(float& highest) {
  int best = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    const float other = __shfl_xor_sync(~0u, highest, lanes);
    const int other_best = __shfl_xor_sync(~0u, best, lanes);
    if (other > highest || (other == highest && other_best < best)) {
      highest = other;
      best = other_best;
    }
  }
  return __shfl_sync(~0u, best, 0);
}

// Sum over the block, the same in every thread. Call it by all threads; `scratch` [kRowThreads / 32] of
// shared memory may be used again after a barrier more.
__device__ __forceinline__ float block_sum(float x, float* scratch) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kRowThreads / 32; ++i) sum += scratch[i];
  return sum;
}

}  // namespace outrider::cuda

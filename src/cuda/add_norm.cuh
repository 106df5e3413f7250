// Residual and RMSNorm of one row, by the kRowThreads threads of a block.
#pragma once

#include "cuda/row.cuh"

namespace outrider::cuda {

// The thread's part of the row's new residual.
__device__ __forceinline__ void add_updates(const AddNorm& call, int row, Vector (&x)[kRowVectors]) {
  const int64_t begin = int64_t{row} * call.hidden;
  const auto* residual = static_cast<const bf16*>(call.residual) + begin;
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const int i = (v * kRowThreads + threadIdx.x) * kVector;
    if (i >= call.hidden) continue;
    x[v] = load_vector(residual + i);
    if (call.update) {
      const Vector u = load_vector(static_cast<const bf16*>(call.update) + begin + i);
#pragma unroll
      for (int j = 0; j < kVector; ++j) x[v].value[j] += u.value[j];
    }
    if (call.expert_out) {
      for (int rank = 0; rank < call.experts_per_token; ++rank) {
        const int pair = row * call.experts_per_token + rank;
        const int64_t place = call.place_of_pair ? call.place_of_pair[pair] : pair;
        const Vector u = load_vector(static_cast<const bf16*>(call.expert_out) + place * call.hidden + i);
#pragma unroll
        for (int j = 0; j < kVector; ++j) x[v].value[j] += u.value[j];
      }
    }
    round_to_bf16(x[v]);
  }
}

// x = x / rms(x) * weight, as bf16.
__device__ __forceinline__ void normalize(const AddNorm& call, Vector (&x)[kRowVectors], float* scratch) {
  float squares = 0.0f;
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    if ((v * kRowThreads + threadIdx.x) * kVector >= call.hidden) continue;
#pragma unroll
    for (float value : x[v].value) squares += value * value;
  }
  const float mean = block_sum(squares, scratch) / static_cast<float>(call.hidden);
  const float factor = rsqrtf(mean + call.eps);
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const int i = (v * kRowThreads + threadIdx.x) * kVector;
    if (i >= call.hidden) continue;
    const Vector w = load_vector(static_cast<const bf16*>(call.weight) + i);
#pragma unroll
    for (int j = 0; j < kVector; ++j) x[v].value[j] *= factor * w.value[j];
    round_to_bf16(x[v]);
  }
}

}  // namespace outrider::cuda

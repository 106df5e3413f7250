// Residual and RMSNorm of one row, by the kRowThreads threads of a block.
#pragma once

#include "cuda/row.cuh"

namespace outrider::cuda {

// The thread's 16-byte pieces of one row.
struct RawRow {
  int4 piece[kRowVectors];
};

__device__ __forceinline__ RawRow load_row(const void* row, int hidden) {
  RawRow raw;
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const int i = (v * kRowThreads + threadIdx.x) * kVector;
    raw.piece[v] = i < hidden ? *reinterpret_cast<const int4*>(static_cast<const bf16*>(row) + i) : int4{};
  }
  return raw;
}

__device__ __forceinline__ void add_row(const RawRow& raw, Vector (&x)[kRowVectors]) {
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const Vector u = unpacked(raw.piece[v]);
#pragma unroll
    for (int j = 0; j < kVector; ++j) x[v].value[j] += u.value[j];
  }
}

// The thread's part of the row's new residual, zero beyond its end. What the sum needs is asked for before
// any of it is used.
__device__ __forceinline__ void add_updates(const AddNorm& call, int row, Vector (&x)[kRowVectors]) {
  const int64_t begin = int64_t{row} * call.hidden;
  const auto expert_row = [&](int rank) {
    const int pair = row * call.experts_per_token + rank;
    const int64_t place = call.place_of_pair ? call.place_of_pair[pair] : pair;
    return load_row(static_cast<const bf16*>(call.expert_out) + place * call.hidden, call.hidden);
  };
  RawRow update{}, expert{};
  const RawRow residual = load_row(static_cast<const bf16*>(call.residual) + begin, call.hidden);
  if (call.update) update = load_row(static_cast<const bf16*>(call.update) + begin, call.hidden);
  if (call.expert_out) expert = expert_row(0);
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) x[v] = unpacked(residual.piece[v]);
  if (call.update) add_row(update, x);
  if (call.expert_out) {
    add_row(expert, x);
    for (int rank = 1; rank < call.experts_per_token; ++rank) add_row(expert_row(rank), x);
  }
#pragma unroll
  for (Vector& v : x) round_to_bf16(v);
}

// x = x / rms(x) * weight, as bf16.
__device__ __forceinline__ void normalize(const AddNorm& call, const RawRow& weight, Vector (&x)[kRowVectors],
                                          float* scratch) {
  float squares = 0.0f;
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
#pragma unroll
    for (float value : x[v].value) squares += value * value;
  }
  const float mean = block_sum(squares, scratch) / static_cast<float>(call.hidden);
  const float factor = rsqrtf(mean + call.eps);
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const Vector w = unpacked(weight.piece[v]);
#pragma unroll
    for (int j = 0; j < kVector; ++j) x[v].value[j] *= factor * w.value[j];
    round_to_bf16(x[v]);
  }
}

}  // namespace outrider::cuda

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

// What a row's new residual is the sum of; rows of further experts are loaded when they are added.
struct RawUpdates {
  RawRow residual, update{}, expert{};
};

__device__ __forceinline__ RawRow load_expert_row(const AddNorm& call, int row, int rank) {
  const int pair = row * call.experts_per_token + rank;
  const int64_t place = call.place_of_pair ? call.place_of_pair[pair] : pair;
  return load_row(static_cast<const bf16*>(call.expert_out) + place * call.hidden, call.hidden);
}

__device__ __forceinline__ RawUpdates load_updates(const AddNorm& call, int row) {
  const int64_t begin = int64_t{row} * call.hidden;
  RawUpdates raw;
  raw.residual = load_row(static_cast<const bf16*>(call.residual) + begin, call.hidden);
  if (call.update) raw.update = load_row(static_cast<const bf16*>(call.update) + begin, call.hidden);
  if (call.expert_out) raw.expert = load_expert_row(call, row, 0);
  return raw;
}

// The thread's part of the row's new residual, zero beyond its end.
__device__ __forceinline__ void sum_updates(const AddNorm& call, int row, const RawUpdates& raw,
                                            Vector (&x)[kRowVectors]) {
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) x[v] = unpacked(raw.residual.piece[v]);
  if (call.update) add_row(raw.update, x);
  if (call.expert_out) {
    add_row(raw.expert, x);
    for (int rank = 1; rank < call.experts_per_token; ++rank) add_row(load_expert_row(call, row, rank), x);
  }
#pragma unroll
  for (Vector& v : x) round_to_bf16(v);
}

__device__ __forceinline__ void add_updates(const AddNorm& call, int row, Vector (&x)[kRowVectors]) {
  sum_updates(call, row, load_updates(call, row), x);
}

__device__ __forceinline__ float sum_of_squares(const Vector (&x)[kRowVectors]) {
  float squares = 0.0f;
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
#pragma unroll
    for (float value : x[v].value) squares += value * value;
  }
  return squares;
}

// x = x / rms(x) * weight, as bf16; `squares`: of the whole row.
__device__ __forceinline__ void scale_row(const AddNorm& call, const RawRow& weight, float squares,
                                          Vector (&x)[kRowVectors]) {
  const float mean = squares / static_cast<float>(call.hidden);
  const float factor = rsqrtf(mean + call.eps);
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const Vector w = unpacked(weight.piece[v]);
#pragma unroll
    for (int j = 0; j < kVector; ++j) x[v].value[j] *= factor * w.value[j];
    round_to_bf16(x[v]);
  }
}

__device__ __forceinline__ void normalize(const AddNorm& call, const RawRow& weight, Vector (&x)[kRowVectors],
                                          float* scratch) {
  scale_row(call, weight, block_sum(sum_of_squares(x), scratch), x);
}

}  // namespace outrider::cuda

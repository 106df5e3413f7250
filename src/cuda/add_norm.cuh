// Residual and RMSNorm of one row, by kRowThreads threads: those of a block, or a warp in each of eight.
#pragma once

#include "cuda/row.cuh"

namespace outrider::cuda {

// A thread's 16-byte pieces of one row: piece v begins at `column` + v * kRowStep, where `column` is the
// thread's place in the row times kVector. All but the last lie inside every row that takes kVectors.
template <int kVectors>
struct RawRow {
  int4 piece[kVectors];
};

template <int kVectors>
__device__ __forceinline__ bool inside(int v, int column, int hidden) {
  return v < kVectors - 1 || column + v * kRowStep < hidden;
}

template <int kVectors>
__device__ __forceinline__ RawRow<kVectors> load_row(const void* row, int column, int hidden) {
  RawRow<kVectors> raw;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    raw.piece[v] = inside<kVectors>(v, column, hidden)
                       ? *reinterpret_cast<const int4*>(static_cast<const bf16*>(row) + column + v * kRowStep)
                       : int4{};
  }
  return raw;
}

template <int kVectors>
__device__ __forceinline__ void prefetch_row(const bf16* row, int column, int hidden) {
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (!inside<kVectors>(v, column, hidden)) continue;
    asm volatile("prefetch.global.L2 [%0];" ::"l"(row + column + v * kRowStep));
  }
}

template <int kVectors>
__device__ __forceinline__ void add_row(const RawRow<kVectors>& raw, Vector (&x)[kVectors]) {
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const Vector u = unpacked(raw.piece[v]);
#pragma unroll
    for (int j = 0; j < kVector; ++j) x[v].value[j] += u.value[j];
  }
}

// Where the row's output of its expert `rank` lies.
__device__ __forceinline__ int expert_place(const AddNorm& call, int row, int rank) {
  const int pair = row * call.experts_per_token + rank;
  return call.place_of_pair ? call.place_of_pair[pair] : pair;
}

template <int kVectors>
__device__ __forceinline__ RawRow<kVectors> load_expert_row(const AddNorm& call, int place, int column) {
  return load_row<kVectors>(static_cast<const bf16*>(call.expert_out) + int64_t{place} * call.hidden, column,
                            call.hidden);
}

// What a row's new residual is the sum of; rows of further experts are loaded when they are added.
template <int kVectors>
struct RawUpdates {
  RawRow<kVectors> residual, update{}, expert{};
};

// `place`: of the row's first expert, where there are any.
template <int kVectors>
__device__ __forceinline__ RawUpdates<kVectors> load_updates(const AddNorm& call, int row, int place,
                                                             int column) {
  const int64_t begin = int64_t{row} * call.hidden;
  RawUpdates<kVectors> raw;
  raw.residual = load_row<kVectors>(static_cast<const bf16*>(call.residual) + begin, column, call.hidden);
  if (call.update) {
    raw.update = load_row<kVectors>(static_cast<const bf16*>(call.update) + begin, column, call.hidden);
  }
  if (call.expert_out) raw.expert = load_expert_row<kVectors>(call, place, column);
  return raw;
}

// The thread's part of the row's new residual, zero beyond its end.
template <int kVectors>
__device__ __forceinline__ void sum_updates(const AddNorm& call, int row, const RawUpdates<kVectors>& raw,
                                            int column, Vector (&x)[kVectors]) {
#pragma unroll
  for (int v = 0; v < kVectors; ++v) x[v] = unpacked(raw.residual.piece[v]);
  if (call.update) add_row(raw.update, x);
  if (call.expert_out) {
    add_row(raw.expert, x);
#pragma unroll 1
    for (int rank = 1; rank < call.experts_per_token; ++rank) {
      add_row(load_expert_row<kVectors>(call, expert_place(call, row, rank), column), x);
    }
  }
#pragma unroll
  for (Vector& v : x) round_to_bf16(v);
}

template <int kVectors>
__device__ __forceinline__ void add_updates(const AddNorm& call, int row, int column, Vector (&x)[kVectors]) {
  const int place = call.expert_out ? expert_place(call, row, 0) : 0;
  sum_updates(call, row, load_updates<kVectors>(call, row, place, column), column, x);
}

template <int kVectors>
__device__ __forceinline__ float sum_of_squares(const Vector (&x)[kVectors]) {
  float squares = 0.0f;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
#pragma unroll
    for (float value : x[v].value) squares += value * value;
  }
  return squares;
}

// x = x / rms(x) * weight, as bf16; `squares`: of the whole row.
template <int kVectors>
__device__ __forceinline__ void scale_row(const AddNorm& call, const RawRow<kVectors>& weight, float squares,
                                          Vector (&x)[kVectors]) {
  const float mean = squares / static_cast<float>(call.hidden);
  const float factor = rsqrtf(mean + call.eps);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const Vector w = unpacked(weight.piece[v]);
#pragma unroll
    for (int j = 0; j < kVector; ++j) x[v].value[j] *= factor * w.value[j];
    round_to_bf16(x[v]);
  }
}

template <int kVectors>
__device__ __forceinline__ void normalize(const AddNorm& call, const RawRow<kVectors>& weight,
                                          Vector (&x)[kVectors], float* scratch) {
  scale_row(call, weight, block_sum(sum_of_squares(x), scratch), x);
}

template <int kVectors>
__device__ __forceinline__ void store_row(bf16* row, int column, int hidden, const Vector (&x)[kVectors]) {
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (inside<kVectors>(v, column, hidden)) store_bf16(row + column + v * kRowStep, x[v]);
  }
}
template <int kVectors>
__device__ __forceinline__ void store_input_row(const ProductInput& out, int64_t row, int column, int hidden,
                                                const Vector (&x)[kVectors], const Divisor& divisor) {
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (!inside<kVectors>(v, column, hidden)) continue;
    store_input(out.type, out.data, row * hidden + column + v * kRowStep, x[v], divisor);
  }
}

// The new residual, where there is one and it stays.
template <int kVectors>
__device__ __forceinline__ void store_residual(const AddNorm& call, int row, int column,
                                               const Vector (&x)[kVectors]) {
  if (call.row_index || !(call.update || call.expert_out)) return;
  store_row(static_cast<bf16*>(call.residual) + int64_t{row} * call.hidden, column, call.hidden, x);
}

}  // namespace outrider::cuda

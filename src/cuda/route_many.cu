// Residual, RMSNorm and routing of many rows. A block takes kRows rows one after the other and keeps them in
// registers as bf16; then every weight of the router that it reads serves all of them: with a row a block,
// 8192 rows would read Scout's router (160 KB) 8192 times, 1.3 GB from the L2 cache. Sums are those of
// route_few.cu, in the same order. Floor: the rows' bytes over memory bandwidth, 0.5 GB or 0.11 ms for 8192.
#include "cuda/add_norm.cuh"
#include "cuda/elementwise.h"
#include "cuda/launch.cuh"

namespace outrider::cuda {
namespace {

constexpr int kMaxExperts = 128;
constexpr int kManyRows = 512;  // from here on blocks of several rows fill the device

__device__ __forceinline__ int vector_begin(int v) { return (v * kRowThreads + threadIdx.x) * kVector; }

// Stores the row's residual and the inputs of the shared expert and of dispatch. `x`: the thread's part of
// the new residual; `packed`: of its norm.
__device__ __forceinline__ void norm_row(const AddNormRoute& call, int row, const RawRow& weight,
                                         float* scratch, Vector (&x)[kRowVectors],
                                         int4 (&packed)[kRowVectors]) {
  const AddNorm& norm = call.norm;
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const int i = vector_begin(v);
    if (i >= norm.hidden || (!norm.update && !norm.expert_out)) continue;
    store_bf16(static_cast<bf16*>(norm.residual) + int64_t{row} * norm.hidden + i, x[v]);
  }
  normalize(norm, weight, x, scratch);
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const int i = vector_begin(v);
    packed[v] = int4{};
    if (i >= norm.hidden) continue;
    const int64_t at = int64_t{row} * norm.hidden + i;
    packed[v] = to_bf16x8(x[v]);
    store_input(norm.out.type, norm.out.data, at, x[v], norm.out.scale);
    *reinterpret_cast<int4*>(static_cast<bf16*>(call.normed) + at) = packed[v];
  }
}

// The row's experts by logit, best first, lowest index on ties. One thread.
__device__ __forceinline__ void choose_experts(const AddNormRoute& call, int row, float* logits) {
  const int top_k = call.norm.experts_per_token;
  for (int rank = 0; rank < top_k; ++rank) {
    int best = 0;
    for (int e = 1; e < call.experts; ++e) best = logits[e] > logits[best] ? e : best;
    const int pair = row * top_k + rank;
    call.expert_of_pair[pair] = best;
    call.score_of_pair[pair] = 1.0f / (1.0f + expf(-logits[best]));
    call.rank_of_pair[pair] = atomicAdd(&call.count_of_expert[best], 1);
    logits[best] = -INFINITY;
  }
}

template <int kRows>
__global__ void __launch_bounds__(kRowThreads) route_kernel(const __grid_constant__ AddNormRoute call) {
  constexpr int kWarps = kRowThreads / 32;
  __shared__ float scratch[kWarps];
  __shared__ float partial[kRows][kMaxExperts][kWarps];
  __shared__ float logits[kRows][kMaxExperts];
  let_next_start();
  const int first = blockIdx.x * kRows, hidden = call.norm.hidden;
  const RawRow norm_weight = load_row(call.norm.weight, hidden);
  wait_for_previous();
  int4 x[kRows][kRowVectors];
  {
    Vector updated[kRows][kRowVectors];  // of all rows before any is used: their loads overlap
#pragma unroll
    for (int r = 0; r < kRows; ++r) add_updates(call.norm, min(first + r, call.norm.rows - 1), updated[r]);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (first + r < call.norm.rows) norm_row(call, first + r, norm_weight, scratch, updated[r], x[r]);
    }
  }
  const auto weights_of = [&](int e) {
    return load_row(static_cast<const bf16*>(call.router) + int64_t{min(e, call.experts - 1)} * hidden,
                    hidden);
  };
  RawRow next = weights_of(0);
  for (int e = 0; e < call.experts; ++e) {
    const RawRow w = next;
    next = weights_of(e + 1);
    float dot[kRows] = {};
#pragma unroll
    for (int v = 0; v < kRowVectors; ++v) {
      if (vector_begin(v) >= hidden) continue;
      const Vector weight = unpacked(w.piece[v]);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const Vector row = unpacked(x[r][v]);
#pragma unroll
        for (int j = 0; j < kVector; ++j) dot[r] += row.value[j] * weight.value[j];
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float sum = warp_sum(dot[r]);
      if (threadIdx.x % 32 == 0) partial[r][e][threadIdx.x / 32] = sum;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kRows * call.experts; i += kRowThreads) {
    const int r = i / call.experts, e = i % call.experts;
    float logit = 0.0f;
    for (float part : partial[r][e]) logit += part;
    logits[r][e] = logit;
  }
  __syncthreads();
  const int r = threadIdx.x / 32;  // a warp each
  if (threadIdx.x % 32 == 0 && r < kRows && first + r < call.norm.rows)
    choose_experts(call, first + r, logits[r]);
}

}  // namespace

void add_norm_route(const AddNormRoute& call, cudaStream_t stream) {
  const int rows = call.norm.rows;
  if (rows < kManyRows) {
    launch(route_kernel<1>, rows, kRowThreads, 0, stream, call);
  } else {
    constexpr int kRows = 2;
    launch(route_kernel<kRows>, (rows + kRows - 1) / kRows, kRowThreads, 0, stream, call);
  }
}

}  // namespace outrider::cuda

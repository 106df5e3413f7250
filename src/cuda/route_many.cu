// Residual, RMSNorm and routing of many rows: a row a block, or from 512 rows on teams of threads that take
// two rows each and share the router in shared memory; with a row a block, 8192 rows would read Scout's
// router (160 KB) 8192 times, 1.3 GB from the L2 cache. Sums are those of route_few.cu, in the same order.
// Floor: the rows' bytes over memory bandwidth, 0.38 GB or 83 us for 8192.
#include <algorithm>

#include "cuda/add_norm.cuh"
#include "cuda/elementwise.h"
#include "cuda/launch.cuh"

namespace outrider::cuda {
namespace {

constexpr int kMaxExperts = 128;
constexpr int kManyRows = 512;  // from here on teams of rows fill the device
constexpr int kWarps = kRowThreads / 32;

__device__ __forceinline__ int vector_begin(int v) { return (v * kRowThreads + threadIdx.x) * kVector; }

__device__ __forceinline__ void store_residual(const AddNorm& norm, int row, const Vector (&x)[kRowVectors]) {
  if (!norm.update && !norm.expert_out) return;
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const int i = vector_begin(v);
    if (i < norm.hidden) store_bf16(static_cast<bf16*>(norm.residual) + int64_t{row} * norm.hidden + i, x[v]);
  }
}

// The inputs of the shared expert and of dispatch.
__device__ __forceinline__ void store_normed(const AddNormRoute& call, int row,
                                             const Vector (&x)[kRowVectors]) {
  const AddNorm& norm = call.norm;
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const int i = vector_begin(v);
    if (i >= norm.hidden) continue;
    const int64_t at = int64_t{row} * norm.hidden + i;
    store_input(norm.out.type, norm.out.data, at, x[v], norm.out.scale);
    store_bf16(static_cast<bf16*>(call.normed) + at, x[v]);
  }
}

__device__ __forceinline__ void store_choice(const AddNormRoute& call, int pair, int expert, float logit) {
  call.expert_of_pair[pair] = expert;
  call.score_of_pair[pair] = 1.0f / (1.0f + expf(-logit));
  call.rank_of_pair[pair] = atomicAdd(&call.count_of_expert[expert], 1);
}

// The row's experts by logit, best first, lowest index on ties. One thread.
__device__ __forceinline__ void choose_experts(const AddNormRoute& call, int row, float* logits) {
  const int top_k = call.norm.experts_per_token;
  for (int rank = 0; rank < top_k; ++rank) {
    int best = 0;
    for (int e = 1; e < call.experts; ++e) best = logits[e] > logits[best] ? e : best;
    store_choice(call, row * top_k + rank, best, logits[best]);
    logits[best] = -INFINITY;
  }
}

// A row a block.
__global__ void __launch_bounds__(kRowThreads) route_kernel(const __grid_constant__ AddNormRoute call) {
  __shared__ float scratch[kWarps];
  __shared__ float partial[kMaxExperts][kWarps];
  __shared__ float logits[kMaxExperts];
  let_next_start();
  const int row = blockIdx.x, hidden = call.norm.hidden;
  const RawRow norm_weight = load_row(call.norm.weight, hidden);
  wait_for_previous();
  Vector x[kRowVectors];
  add_updates(call.norm, row, x);
  store_residual(call.norm, row, x);
  normalize(call.norm, norm_weight, x, scratch);
  store_normed(call, row, x);
  const auto weights_of = [&](int e) {
    return load_row(static_cast<const bf16*>(call.router) + int64_t{min(e, call.experts - 1)} * hidden,
                    hidden);
  };
  RawRow next = weights_of(0);
  for (int e = 0; e < call.experts; ++e) {
    const RawRow w = next;
    next = weights_of(e + 1);
    float dot = 0.0f;
#pragma unroll
    for (int v = 0; v < kRowVectors; ++v) {
      if (vector_begin(v) >= hidden) continue;
      const Vector weight = unpacked(w.piece[v]);
#pragma unroll
      for (int j = 0; j < kVector; ++j) dot += x[v].value[j] * weight.value[j];
    }
    dot = warp_sum(dot);
    if (threadIdx.x % 32 == 0) partial[e][threadIdx.x / 32] = dot;
  }
  __syncthreads();
  for (int e = threadIdx.x; e < call.experts; e += kRowThreads) {
    float logit = 0.0f;
    for (float part : partial[e]) logit += part;
    logits[e] = logit;
  }
  __syncthreads();
  if (threadIdx.x == 0) choose_experts(call, row, logits);
}

// Teams of kRowThreads threads: threadIdx.y is the team.
constexpr int kTeams = 2, kTeamRows = 2;
constexpr int kTeamExperts = 32;  // a lane each, in the end
constexpr int kAtOnce = 8;        // experts
constexpr int kMaxRouterBytes = 200 << 10;

struct TeamScratch {
  float squares[kTeamRows][kWarps];
  float partial[kTeamRows][kTeamExperts][kWarps];
};

__device__ __forceinline__ void team_sync() {
  asm volatile("bar.sync %0, %1;" ::"r"(threadIdx.y + 1), "n"(kRowThreads) : "memory");
}

// Sums over a warp as warp_sum() gives them: lane l has that of value l / 2.
__device__ __forceinline__ float warp_sums(float (&value)[16]) {
#pragma unroll
  for (int lanes = 16; lanes > 1; lanes /= 2) {
    const bool upper = threadIdx.x & lanes;
#pragma unroll
    for (int i = 0; i < lanes / 2; ++i) {
      const float mine = upper ? value[i + lanes / 2] : value[i],
                  other = upper ? value[i] : value[i + lanes / 2];
      value[i] = mine + __shfl_xor_sync(~0u, other, lanes);
    }
  }
  return value[0] + __shfl_xor_sync(~0u, value[0], 1);
}

// As choose_experts(), by a warp: lane e has expert e's logit, or minus infinity.
__device__ __forceinline__ void choose_experts(const AddNormRoute& call, int row, float logit) {
  const int lane = threadIdx.x % 32, top_k = call.norm.experts_per_token;
  for (int rank = 0; rank < top_k; ++rank) {
    int best = lane;
    float highest = logit;
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      const float other = __shfl_xor_sync(~0u, highest, lanes);
      const int other_best = __shfl_xor_sync(~0u, best, lanes);
      if (other > highest || (other == highest && other_best < best)) {
        highest = other;
        best = other_best;
      }
    }
    best = __shfl_sync(~0u, best, 0);
    if (lane == 0) store_choice(call, row * top_k + rank, best, highest);
    if (lane == best) logit = -INFINITY;
  }
}

__global__ void __launch_bounds__(kTeams* kRowThreads, 1)
    route_teams_kernel(const __grid_constant__ AddNormRoute call) {
  extern __shared__ int4 router[];  // [experts][hidden / kVector]
  __shared__ TeamScratch scratches[kTeams];
  let_next_start();
  const int hidden = call.norm.hidden, vectors = hidden / kVector, experts = call.experts;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int i = threadIdx.y * kRowThreads + threadIdx.x; i < experts * vectors; i += kTeams * kRowThreads) {
    router[i] = static_cast<const int4*>(call.router)[i];
  }
  __syncthreads();
  TeamScratch& scratch = scratches[threadIdx.y];
  wait_for_previous();
  const int step = gridDim.x * kTeams * kTeamRows;
  for (int first = (blockIdx.x * kTeams + threadIdx.y) * kTeamRows; first < call.norm.rows; first += step) {
    Vector x[kTeamRows][kRowVectors];
    const auto row_of = [&](int r) { return min(first + r, call.norm.rows - 1); };
    {
      RawUpdates raw[kTeamRows];  // of all rows before any is used: their loads overlap
#pragma unroll
      for (int r = 0; r < kTeamRows; ++r) raw[r] = load_updates(call.norm, row_of(r));
#pragma unroll
      for (int r = 0; r < kTeamRows; ++r) sum_updates(call.norm, row_of(r), raw[r], x[r]);
    }
#pragma unroll
    for (int r = 0; r < kTeamRows; ++r) {
      if (first + r < call.norm.rows) store_residual(call.norm, first + r, x[r]);
      const float squares = warp_sum(sum_of_squares(x[r]));
      if (lane == 0) scratch.squares[r][warp] = squares;
    }
    team_sync();
    const RawRow weight = load_row(call.norm.weight, hidden);
#pragma unroll
    for (int r = 0; r < kTeamRows; ++r) {
      float squares = 0.0f;
      for (float part : scratch.squares[r]) squares += part;
      scale_row(call.norm, weight, squares, x[r]);
      if (first + r < call.norm.rows) store_normed(call, first + r, x[r]);
    }
    for (int begin = 0; begin < experts; begin += kAtOnce) {
      float dot[kTeamRows * kAtOnce] = {};
#pragma unroll
      for (int v = 0; v < kRowVectors; ++v) {
        if (vector_begin(v) >= hidden) continue;
#pragma unroll
        for (int e = 0; e < kAtOnce; ++e) {
          const Vector w =
              unpacked(router[min(begin + e, experts - 1) * vectors + v * kRowThreads + threadIdx.x]);
#pragma unroll
          for (int r = 0; r < kTeamRows; ++r) {
#pragma unroll
            for (int j = 0; j < kVector; ++j) dot[r * kAtOnce + e] += x[r][v].value[j] * w.value[j];
          }
        }
      }
      const float sum = warp_sums(dot);
      const int expert = begin + lane / 2 % kAtOnce;
      if (lane % 2 == 0 && expert < experts) scratch.partial[lane / (2 * kAtOnce)][expert][warp] = sum;
    }
    team_sync();
    if (warp < kTeamRows && first + warp < call.norm.rows) {  // a warp a row
      float logit = -INFINITY;
      if (lane < experts) {
        logit = 0.0f;
        for (float part : scratch.partial[warp][lane]) logit += part;
      }
      choose_experts(call, first + warp, logit);
    }
  }
}

}  // namespace

void add_norm_route(const AddNormRoute& call, cudaStream_t stream) {
  const int rows = call.norm.rows, router_bytes = call.experts * call.norm.hidden * 2;
  if (rows < kManyRows || call.experts > kTeamExperts || router_bytes > kMaxRouterBytes) {
    launch(route_kernel, rows, kRowThreads, 0, stream, call);
    return;
  }
  constexpr int kBlocks = 132;  // Hopper's multiprocessors
  check(cudaFuncSetAttribute(route_teams_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, router_bytes),
        "cudaFuncSetAttribute");
  constexpr int kBlockRows = kTeams * kTeamRows;
  launch(route_teams_kernel, std::min((rows + kBlockRows - 1) / kBlockRows, kBlocks),
         dim3(kRowThreads, kTeams), router_bytes, stream, call);
}

}  // namespace outrider::cuda

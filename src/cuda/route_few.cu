// Routing with few rows: a cluster of blocks a row, which share the experts' logits, so that one
// multiprocessor need not read the whole router (160 KB for Scout). Each block has the whole row; each stores
// a part of it. Sums are those of add_norm_route, in the same order. Floor: the launch itself.
#include "cuda/add_norm.cuh"
#include "cuda/cluster.cuh"
#include "cuda/elementwise.h"
#include "cuda/launch.cuh"

namespace outrider::cuda {
namespace {

constexpr int kBlocksARow = 8;
static_assert(kBlocksARow == kRowThreads / 32);
constexpr int kExpertsABlock = kMaxFewExperts / kBlocksARow;
constexpr int kAhead = 2;  // experts of a block whose weights are asked for at once: all, where there are 16

template <int kVectors>
__device__ __forceinline__ float dot_of_thread(const RawRow<kVectors>& router, const Vector (&x)[kVectors]) {
  float dot = 0.0f;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const Vector weight = unpacked(router.piece[v]);
#pragma unroll
    for (int j = 0; j < kVector; ++j) dot += x[v].value[j] * weight.value[j];
  }
  return dot;
}

template <int kVectors>
__global__ void __cluster_dims__(kBlocksARow, 1, 1) __launch_bounds__(kRowThreads)
    add_norm_route_few_kernel(const __grid_constant__ AddNormRoute call,
                              const __grid_constant__ FewExperts few) {
  __shared__ float scratch[kRowThreads / 32];
  __shared__ float partial[kExpertsABlock][kRowThreads / 32];
  __shared__ float logits[kMaxFewExperts], scales[kMaxFewExperts];
  let_next_start();
  const AddNorm& norm = call.norm;
  const int rank = cluster_rank(), row = blockIdx.x / kBlocksARow, hidden = norm.hidden;
  const int column = threadIdx.x * kVector;
  const auto weights_of = [&](int e) {
    return load_row<kVectors>(static_cast<const bf16*>(call.router) + int64_t{e} * hidden, column, hidden);
  };
  // Weights come from far: they are asked for before the rest is there.
  const RawRow<kVectors> weight = load_row<kVectors>(norm.weight, column, hidden);
  RawRow<kVectors> router[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) router[i] = weights_of(min(rank + i * kBlocksARow, call.experts - 1));
  if (threadIdx.x < call.experts) {
    scales[threadIdx.x] = few.scale_of_expert ? few.scale_of_expert[threadIdx.x] : 1.0f;
  }
  cluster_sync();  // every block runs
  wait_for_previous();
  Vector residual[kVectors], x[kVectors];
  add_updates(norm, row, column, residual);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) x[v] = residual[v];
  normalize(norm, weight, x, scratch);

#pragma unroll
  for (int i = 0; i < kExpertsABlock; ++i) {
    const int e = rank + i * kBlocksARow;
    if (e >= call.experts) break;
    if (i >= kAhead) router[i % kAhead] = weights_of(e);
    const float dot = warp_sum(dot_of_thread(router[i % kAhead], x));
    if (threadIdx.x % 32 == 0) partial[i][threadIdx.x / 32] = dot;
  }
  __syncthreads();
  const int mine = threadIdx.x / kBlocksARow, expert = rank + mine * kBlocksARow;
  if (expert < call.experts && mine < kExpertsABlock) {
    float logit = 0.0f;
    for (float part : partial[mine]) logit += part;
    *peer(&logits[expert], threadIdx.x % kBlocksARow) = logit;
  }
  cluster_sync();  // all have read the residual and written their logits

  if (static_cast<int>(threadIdx.x / 32) != rank) return;
  const int lane = threadIdx.x % 32, top_k = norm.experts_per_token;
  float logit = lane < call.experts ? logits[lane] : -INFINITY;
#pragma unroll 1
  for (int k = 0; k < top_k; ++k) {
    float highest = logit;
    const int best = best_lane(highest), pair = row * top_k + k;
    if (lane == best) logit = -INFINITY;
    const float score = 1.0f / (1.0f + expf(-highest));
    if (rank == 0 && lane == 0) call.expert_of_pair[pair] = best;
    Vector scaled[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      scaled[v] = x[v];
      for (float& value : scaled[v].value) value *= score;
      round_to_bf16(scaled[v]);
    }
    store_input_row(few.expert_in, pair, column, hidden, scaled, Divisor(scales[best]));
  }
  store_input_row(norm.out, row, column, hidden, x, Divisor(norm.out.scale));
  store_residual(norm, row, column, residual);
}

}  // namespace

void add_norm_route_few(const AddNormRoute& call, const FewExperts& few, cudaStream_t stream) {
  with_row_vectors(call.norm.hidden, [&](auto vectors) {
    launch(add_norm_route_few_kernel<vectors()>, call.norm.rows * kBlocksARow, kRowThreads, 0, stream, call,
           few);
  });
}

}  // namespace outrider::cuda

// One block a row, the row in registers, 16 bytes an access. Floor: the rows' bytes over memory bandwidth; at
// decode sizes the launch itself, which programmatic launches overlap.
#include "cuda/elementwise.h"

#include "cuda/add_norm.cuh"
#include "cuda/launch.cuh"

namespace outrider::cuda {
namespace {

__global__ void __launch_bounds__(kRowThreads)
    embed_kernel(const Batch batch, const bf16* table, const int32_t* last_token, int vocab, int hidden,
                 bf16* residual) {
  let_next_start();
  wait_for_previous();
  const int row = blockIdx.x;
  int token = batch.tokens[row];
  if (token < 0) token = last_token[batch.sequences[batch.sequence_of_row[row]].slot];
  token = min(max(token, 0),
              vocab - 1);  // ids are checked where requests enter; a wrong one must not read elsewhere
  const auto* from = reinterpret_cast<const int4*>(table + int64_t{token} * hidden);
  auto* to = reinterpret_cast<int4*>(residual + int64_t{row} * hidden);
  for (int i = threadIdx.x; i < hidden / kVector; i += kRowThreads) to[i] = from[i];
}

__device__ __forceinline__ void store_row(const AddNorm& call, const Vector (&x)[kRowVectors]) {
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const int i = (v * kRowThreads + threadIdx.x) * kVector;
    if (i >= call.hidden) continue;
    store_input(call.out.type, call.out.data, int64_t{blockIdx.x} * call.hidden + i, x[v], call.out.scale);
  }
}

// The new residual, where there is one and it stays.
__device__ __forceinline__ void store_residual(const AddNorm& call, int row, const Vector (&x)[kRowVectors]) {
  if (call.row_index || !(call.update || call.expert_out)) return;
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const int i = (v * kRowThreads + threadIdx.x) * kVector;
    if (i < call.hidden) store_bf16(static_cast<bf16*>(call.residual) + int64_t{row} * call.hidden + i, x[v]);
  }
}

__global__ void __launch_bounds__(kRowThreads) add_norm_kernel(const AddNorm call) {
  __shared__ float scratch[kRowThreads / 32];
  let_next_start();
  wait_for_previous();
  if (blockIdx.x == 0) {
    for (int i = threadIdx.x; i < call.clear_count; i += kRowThreads) call.clear[i] = 0;
  }
  Vector x[kRowVectors];
  const int row = call.row_index ? call.row_index[blockIdx.x] : blockIdx.x;
  add_updates(call, row, x);
  store_residual(call, row, x);
  normalize(call, x, scratch);
  store_row(call, x);
}

constexpr int kMaxExperts = 128;

__global__ void __launch_bounds__(kRowThreads) add_norm_route_kernel(const AddNormRoute call) {
  __shared__ float scratch[kRowThreads / 32];
  __shared__ float logits[kMaxExperts];
  let_next_start();
  wait_for_previous();
  const int row = blockIdx.x, hidden = call.norm.hidden;
  Vector x[kRowVectors];
  add_updates(call.norm, row, x);
  store_residual(call.norm, row, x);
  normalize(call.norm, x, scratch);
  store_row(call.norm, x);
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const int i = (v * kRowThreads + threadIdx.x) * kVector;
    if (i < hidden) store_bf16(static_cast<bf16*>(call.normed) + int64_t{row} * hidden + i, x[v]);
  }

  __shared__ float partial[kMaxExperts][kRowThreads / 32];
  for (int e = 0; e < call.experts; ++e) {
    const bf16* w = static_cast<const bf16*>(call.router) + int64_t{e} * hidden;
    float dot = 0.0f;
#pragma unroll
    for (int v = 0; v < kRowVectors; ++v) {
      const int i = (v * kRowThreads + threadIdx.x) * kVector;
      if (i >= hidden) continue;
      const Vector weight = load_vector(w + i);
#pragma unroll
      for (int j = 0; j < kVector; ++j) dot += x[v].value[j] * weight.value[j];
    }
    dot = warp_sum(dot);
    if (threadIdx.x % 32 == 0) partial[e][threadIdx.x / 32] = dot;
  }
  __syncthreads();
  if (threadIdx.x < call.experts) {
    float logit = 0.0f;
    for (float part : partial[threadIdx.x]) logit += part;
    logits[threadIdx.x] = logit;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
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

__global__ void __launch_bounds__(kRowThreads) dispatch_kernel(const Dispatch call) {
  let_next_start();
  wait_for_previous();
  const int pair = blockIdx.x, row = pair / call.experts_per_token, expert = call.expert_of_pair[pair];
  int begin = 0;
  for (int e = 0; e < expert; ++e) begin += call.count_of_expert[e];
  const int place = begin + call.rank_of_pair[pair];
  if (threadIdx.x == 0) call.place_of_pair[pair] = place;
  if (pair == 0 && threadIdx.x <= call.experts) {
    int sum = 0;
    for (int e = 0; e < static_cast<int>(threadIdx.x); ++e) sum += call.count_of_expert[e];
    call.expert_begin[threadIdx.x] = sum;
  }
  const float score = call.score_of_pair[pair], scale = call.scale_of_expert[expert];
  for (int i = threadIdx.x * kVector; i < call.hidden; i += kRowThreads * kVector) {
    Vector x = load_vector(static_cast<const bf16*>(call.normed) + int64_t{row} * call.hidden + i);
    for (float& value : x.value) value *= score;
    round_to_bf16(x);
    store_input(call.expert_in.type, call.expert_in.data, int64_t{place} * call.hidden + i, x, scale);
  }
}

}  // namespace

void embed(const Batch& batch, const void* table, const int32_t* last_token, int vocab, int hidden,
           void* residual, cudaStream_t stream) {
  launch(embed_kernel, batch.num_rows, kRowThreads, 0, stream, batch, static_cast<const bf16*>(table),
         last_token, vocab, hidden, static_cast<bf16*>(residual));
}

void add_norm(const AddNorm& call, cudaStream_t stream) {
  launch(add_norm_kernel, call.rows, kRowThreads, 0, stream, call);
}

void add_norm_route(const AddNormRoute& call, cudaStream_t stream) {
  launch(add_norm_route_kernel, call.norm.rows, kRowThreads, 0, stream, call);
}

void dispatch(const Dispatch& call, cudaStream_t stream) {
  launch(dispatch_kernel, call.rows * call.experts_per_token, kRowThreads, 0, stream, call);
}

}  // namespace outrider::cuda

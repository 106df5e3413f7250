// One block a row, the row in registers, 16 bytes an access; of many rows a block norms several, and has the
// next one on the way. Floor: the rows' bytes over memory bandwidth; at decode sizes the launch itself, which
// programmatic launches overlap.
#include "cuda/elementwise.h"

#include <algorithm>

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

__device__ __forceinline__ void store_row(const AddNorm& call, int row, const Vector (&x)[kRowVectors]) {
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const int i = (v * kRowThreads + threadIdx.x) * kVector;
    if (i >= call.hidden) continue;
    store_input(call.out.type, call.out.data, int64_t{row} * call.hidden + i, x[v], call.out.scale);
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

// Two an SM of Hopper's 132: what they ask for ahead keeps the memory busy.
constexpr int kNormBlocks = 264;

__global__ void __launch_bounds__(kRowThreads, 2) add_norm_kernel(const __grid_constant__ AddNorm call) {
  __shared__ float scratch[kRowThreads / 32];
  let_next_start();
  const RawRow weight = load_row(call.weight, call.hidden);
  wait_for_previous();
  if (blockIdx.x == 0) {
    for (int i = threadIdx.x; i < call.clear_count; i += kRowThreads) call.clear[i] = 0;
  }
  const auto row_of = [&](int i) { return call.row_index ? call.row_index[i] : i; };
  RawUpdates next = load_updates(call, row_of(blockIdx.x));
  for (int i = blockIdx.x; i < call.rows; i += gridDim.x) {
    const int row = row_of(i), after = i + gridDim.x;
    Vector x[kRowVectors];
    sum_updates(call, row, next, x);
    if (after < call.rows) next = load_updates(call, row_of(after));
    store_residual(call, row, x);
    normalize(call, weight, x, scratch);
    store_row(call, i, x);
  }
}

__global__ void __launch_bounds__(kRowThreads) dispatch_kernel(const Dispatch call) {
  let_next_start();
  wait_for_previous();
  const int pair = blockIdx.x, row = pair / call.experts_per_token;
  // Asked for before its place is looked up.
  const RawRow raw =
      load_row(static_cast<const bf16*>(call.normed) + int64_t{row} * call.hidden, call.hidden);
  const int expert = call.expert_of_pair[pair];
  int begin = call.first_place;
  for (int e = 0; e < expert; ++e) begin += call.count_of_expert[e];
  const int place = begin + call.rank_of_pair[pair];
  if (threadIdx.x == 0) call.place_of_pair[pair] = place;
  if (pair == 0 && threadIdx.x <= call.experts) {
    int sum = call.first_place;
    for (int e = 0; e < static_cast<int>(threadIdx.x); ++e) sum += call.count_of_expert[e];
    call.expert_begin[threadIdx.x] = sum;
  }
  const float score = call.score_of_pair[pair], scale = call.scale_of_expert[expert];
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const int i = (v * kRowThreads + threadIdx.x) * kVector;
    if (i >= call.hidden) continue;
    Vector x = unpacked(raw.piece[v]);
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
  launch(add_norm_kernel, std::min(call.rows, kNormBlocks), kRowThreads, 0, stream, call);
}

void dispatch(const Dispatch& call, cudaStream_t stream) {
  launch(dispatch_kernel, call.rows * call.experts_per_token, kRowThreads, 0, stream, call);
}

}  // namespace outrider::cuda

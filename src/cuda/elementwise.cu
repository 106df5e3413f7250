// One block a row, the row in registers, 16 bytes an access; of many rows a block norms several, and has the
// next one on the way. Floor: the rows' bytes over memory bandwidth; at decode sizes the launch itself, which
// programmatic launches overlap.
#include "cuda/elementwise.h"

#include <algorithm>

#include "cuda/add_norm.cuh"
#include "cuda/async_copy.cuh"
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

// Two an SM of Hopper's 132, where four would fit: fewer blocks with more rows each are faster. Beyond as
// many rows a block takes several, and brings what the next one is made of into the L2 cache while it works
// on this one.
constexpr int kNormBlocksThatFit = 4, kNormBlocks = 132 * 2;

__device__ __forceinline__ void prefetch_updates(const AddNorm& call, int row, int place) {
  const int64_t begin = int64_t{row} * call.hidden;
  const int bytes = call.hidden * 2;
  prefetch_bytes(static_cast<const bf16*>(call.residual) + begin, bytes);
  if (call.update) prefetch_bytes(static_cast<const bf16*>(call.update) + begin, bytes);
  if (call.expert_out) {
    prefetch_bytes(static_cast<const bf16*>(call.expert_out) + int64_t{place} * call.hidden, bytes);
  }
}

template <int kVectors>
__global__ void __launch_bounds__(kRowThreads, kVectors < 4 ? kNormBlocksThatFit : 2)
    add_norm_kernel(const __grid_constant__ AddNorm call) {
  __shared__ float scratch[2][kRowThreads / 32];
  __shared__ RawRow<kVectors> weights[kRowThreads];  // a thread's own each; registers are for rows
  let_next_start();
  const int column = threadIdx.x * kVector, hidden = call.hidden;
  RawRow<kVectors>& weight = weights[threadIdx.x];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (!inside<kVectors>(v, column, hidden)) continue;
    copy_16_bytes(shared_address(&weight.piece[v]),
                  static_cast<const bf16*>(call.weight) + column + v * kRowStep);
  }
  const Divisor divisor(call.out.scale);
  const auto row_of = [&](int i) { return call.row_index ? call.row_index[i] : i; };
  const auto place_of = [&](int row) { return call.expert_out ? expert_place(call, row, 0) : 0; };
  int row = row_of(blockIdx.x), place = place_of(row), turn = 0;
  wait_for_previous();
  if (blockIdx.x == 0) {
#pragma unroll 1
    for (int i = threadIdx.x; i < call.clear_count; i += kRowThreads) call.clear[i] = 0;
  }
#pragma unroll 1
  for (int i = blockIdx.x; i < call.rows; i += gridDim.x, turn ^= 1) {
    const RawUpdates<kVectors> raw = load_updates<kVectors>(call, row, place, column);
    const int after = i + gridDim.x, this_row = row;
    if (after < call.rows) {  // looked up now, so that nothing waits for it later
      row = row_of(after);
      place = place_of(row);
    }
    Vector x[kVectors];
    sum_updates(call, this_row, raw, column, x);
    if (threadIdx.x == 0 && after < call.rows) prefetch_updates(call, row, place);
    store_residual(call, this_row, column, x);
    const float squares = block_sum(sum_of_squares(x), scratch[turn]);
    wait_for_own_copies();
    scale_row(call, weight, squares, x);
    store_input_row(call.out, i, column, hidden, x, divisor);
  }
}

template <int kVectors>
__global__ void __launch_bounds__(kRowThreads) dispatch_kernel(const __grid_constant__ Dispatch call) {
  let_next_start();
  wait_for_previous();
  const int pair = blockIdx.x, row = pair / call.experts_per_token, column = threadIdx.x * kVector;
  // Asked for before its place is looked up.
  const RawRow<kVectors> raw = load_row<kVectors>(
      static_cast<const bf16*>(call.normed) + int64_t{row} * call.hidden, column, call.hidden);
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
  const float score = call.score_of_pair[pair];
  const Divisor divisor(call.scale_of_expert[expert]);
  Vector x[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    x[v] = unpacked(raw.piece[v]);
    for (float& value : x[v].value) value *= score;
    round_to_bf16(x[v]);
  }
  store_input_row(call.expert_in, place, column, call.hidden, x, divisor);
}

}  // namespace

void embed(const Batch& batch, const void* table, const int32_t* last_token, int vocab, int hidden,
           void* residual, cudaStream_t stream) {
  launch(embed_kernel, batch.num_rows, kRowThreads, 0, stream, batch, static_cast<const bf16*>(table),
         last_token, vocab, hidden, static_cast<bf16*>(residual));
}

void add_norm(const AddNorm& call, cudaStream_t stream) {
  with_row_vectors(call.hidden, [&](auto vectors) {
    launch(add_norm_kernel<vectors()>, std::min(call.rows, kNormBlocks), kRowThreads, 0, stream, call);
  });
}

void dispatch(const Dispatch& call, cudaStream_t stream) {
  with_row_vectors(call.hidden, [&](auto vectors) {
    launch(dispatch_kernel<vectors()>, call.rows * call.experts_per_token, kRowThreads, 0, stream, call);
  });
}

}  // namespace outrider::cuda

// One block a row, the row in registers, 16 bytes an access. Floor: the rows' bytes over memory bandwidth; at
// decode sizes the launch itself, which programmatic launches overlap.
#include "cuda/elementwise.h"

#include "cuda/launch.cuh"
#include "cuda/row.cuh"

namespace outrider::cuda {
namespace {

__global__ void __launch_bounds__(kRowThreads)
    embed_kernel(const Batch batch, const bf16* table, const int32_t* last_token, int vocab, int hidden,
                 bf16* residual) {
  wait_for_previous();
  let_next_start();
  const int row = blockIdx.x;
  int token = batch.tokens[row];
  if (token < 0) token = last_token[batch.sequences[batch.sequence_of_row[row]].slot];
  token = min(max(token, 0),
              vocab - 1);  // ids are checked where requests enter; a wrong one must not read elsewhere
  const auto* from = reinterpret_cast<const int4*>(table + int64_t{token} * hidden);
  auto* to = reinterpret_cast<int4*>(residual + int64_t{row} * hidden);
  for (int i = threadIdx.x; i < hidden / kVector; i += kRowThreads) to[i] = from[i];
}

// The thread's part of the row's new residual; writes it back where it stays.
__device__ __forceinline__ void add_updates(const AddNorm& call, int row, Vector (&x)[kRowVectors]) {
  const int64_t begin = int64_t{row} * call.hidden;
  auto* residual = static_cast<bf16*>(call.residual) + begin;
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
        const int64_t place = call.place_of_pair[row * call.experts_per_token + rank];
        const Vector u = load_vector(static_cast<const bf16*>(call.expert_out) + place * call.hidden + i);
#pragma unroll
        for (int j = 0; j < kVector; ++j) x[v].value[j] += u.value[j];
      }
    }
    round_to_bf16(x[v]);
    if (!call.row_index && (call.update || call.expert_out)) store_bf16(residual + i, x[v]);
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

__device__ __forceinline__ void store_row(const AddNorm& call, const Vector (&x)[kRowVectors]) {
#pragma unroll
  for (int v = 0; v < kRowVectors; ++v) {
    const int i = (v * kRowThreads + threadIdx.x) * kVector;
    if (i >= call.hidden) continue;
    store_input(call.out.type, call.out.data, int64_t{blockIdx.x} * call.hidden + i, x[v], call.out.scale);
  }
}

__global__ void __launch_bounds__(kRowThreads) add_norm_kernel(const AddNorm call) {
  __shared__ float scratch[kRowThreads / 32];
  wait_for_previous();
  let_next_start();
  if (blockIdx.x == 0) {
    for (int i = threadIdx.x; i < call.clear_count; i += kRowThreads) call.clear[i] = 0;
  }
  Vector x[kRowVectors];
  add_updates(call, call.row_index ? call.row_index[blockIdx.x] : blockIdx.x, x);
  normalize(call, x, scratch);
  store_row(call, x);
}

constexpr int kMaxExperts = 128;

__global__ void __launch_bounds__(kRowThreads) add_norm_route_kernel(const AddNormRoute call) {
  __shared__ float scratch[kRowThreads / 32];
  __shared__ float logits[kMaxExperts];
  wait_for_previous();
  let_next_start();
  const int row = blockIdx.x, hidden = call.norm.hidden;
  Vector x[kRowVectors];
  add_updates(call.norm, row, x);
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
  wait_for_previous();
  let_next_start();
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

__global__ void __launch_bounds__(kRowThreads) silu_mul_kernel(const SiluMul call) {
  wait_for_previous();
  let_next_start();
  const int row = blockIdx.x;
  float scale = call.out.scale;
  if (call.scale_of_group) {
    int group = 0;
    while (group + 1 < call.groups && row >= call.row_begin[group + 1]) ++group;
    scale = call.scale_of_group[group];
  }
  const bf16* gate = static_cast<const bf16*>(call.gate_up) + int64_t{row} * 2 * call.inner;
  for (int i = threadIdx.x * kVector; i < call.inner; i += kRowThreads * kVector) {
    Vector g = load_vector(gate + i);
    const Vector u = load_vector(gate + call.inner + i);
#pragma unroll
    for (int j = 0; j < kVector; ++j) g.value[j] = g.value[j] / (1.0f + __expf(-g.value[j])) * u.value[j];
    round_to_bf16(g);
    store_input(call.out.type, call.out.data, int64_t{row} * call.inner + i, g, scale);
  }
}

__global__ void __launch_bounds__(kRowThreads)
    quantize_kernel(int columns, const bf16* x, const ProductInput out) {
  wait_for_previous();
  let_next_start();
  const int64_t begin = int64_t{blockIdx.x} * columns;
  for (int i = threadIdx.x * kVector; i < columns; i += kRowThreads * kVector) {
    store_input(out.type, out.data, begin + i, load_vector(x + begin + i), out.scale);
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

void silu_mul(const SiluMul& call, cudaStream_t stream) {
  launch(silu_mul_kernel, call.rows, kRowThreads, 0, stream, call);
}

void quantize(int rows, int columns, const void* x, const ProductInput& out, cudaStream_t stream) {
  launch(quantize_kernel, rows, kRowThreads, 0, stream, columns, static_cast<const bf16*>(x), out);
}

}  // namespace outrider::cuda

// One warp a (row, head), on ordinary arithmetic units: far from any floor, but the plainest form there is.
#include "cuda/attention_instances.h"

#include "cuda/attention_runs.cuh"
#include "cuda/kv_image.cuh"
#include "cuda/launch.cuh"

namespace outrider::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kPlainBlocksPerSm = 8;

template <model::KvDtype kDtype>
__device__ __forceinline__ float load_element(const uint8_t* p) {
  if constexpr (kDtype == model::KvDtype::kFp8E4m3) return from_e4m3(*p);
  return __bfloat162float(*reinterpret_cast<const bf16*>(p));
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lanes));
  return x;
}
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
  return x;
}

// State of one row's run.
template <int kPerLane>
struct Run {
  float max = kNoScore, sum = 0.0f, total[kPerLane] = {};
};

// Keys [begin, end) of the page whose image is given; positions count inside the page.
template <model::KvDtype kDtype, int kHeadDim>
__device__ void add_page(const uint8_t* image, int begin, int end, float score_scale, const float* q,
                         float* weights, Run<kHeadDim / 32>& run) {
  using Image = KvImage<kDtype, kHeadDim>;
  const int lane = threadIdx.x % 32;
  float score[2];
  for (int i = 0; i < 2; ++i) {
    const int position = lane + 32 * i;
    score[i] = kNoScore;
    if (position < begin || position >= end) continue;
    float sum = 0.0f;
#pragma unroll 16
    for (int c = 0; c < kHeadDim; ++c) {
      sum += q[c] * load_element<kDtype>(image + Image::key_offset(position, c));
    }
    score[i] = sum * score_scale;
  }
  const float new_max = fmaxf(run.max, warp_max(fmaxf(score[0], score[1])));
  const float keep = exp2_approx(run.max - new_max);
  run.max = new_max;
  for (int i = 0; i < 2; ++i) {
    const int position = lane + 32 * i;
    score[i] = position >= begin && position < end ? exp2_approx(score[i] - new_max) : 0.0f;
    weights[position] = score[i];
  }
  run.sum = __fmaf_rn(run.sum, keep, warp_sum(score[0] + score[1]));
  __syncwarp();
#pragma unroll
  for (int j = 0; j < kHeadDim / 32; ++j) {
    float sum = 0.0f;
    for (int position = begin; position < end; ++position) {
      sum += weights[position] * load_element<kDtype>(image + Image::value_offset(position, lane + 32 * j));
    }
    run.total[j] = __fmaf_rn(run.total[j], keep, sum);
  }
  __syncwarp();
}

template <model::KvDtype kDtype, int kHeadDim>
__device__ Run<kHeadDim / 32> sum_run(const AttentionCall& call, const AttentionTile& tile, int run_index,
                                      int position, int kv_head, const float* q, float* weights) {
  Run<kHeadDim / 32> run;
  const int begin = tile.first_key + run_index * kKeyRun, end = min(begin + kKeyRun, position + 1);
  const float scale = call.cache.k_scale * rsqrtf(static_cast<float>(kHeadDim)) * 1.44269504f;
  const int32_t* pages = call.pages + tile.sequence * call.page_stride;
  for (int page = begin / kPagePositions; page * kPagePositions < end; ++page) {
    const uint8_t* image =
        call.cache.base + pages[page] * call.cache.page_stride + kv_head * call.cache.head_bytes;
    const int start = page * kPagePositions;
    add_page<kDtype, kHeadDim>(image, max(begin - start, 0), min(end - start, kPagePositions), scale, q,
                               weights, run);
  }
  return run;
}

template <model::KvDtype kDtype, int kHeadDim>
__device__ void attend_row(const AttentionCall& call, const AttentionTile& tile, int token, int head,
                           int heads, int group, float* q, float* weights) {
  constexpr int kPerLane = kHeadDim / 32;
  const int lane = threadIdx.x % 32, position = tile.first_position + token;
  const int64_t row = (int64_t{tile.first_row + token} * heads + head) * kHeadDim;
  for (int c = lane; c < kHeadDim; c += 32) {
    q[c] = __bfloat162float(static_cast<const bf16*>(call.q)[row + c]);
  }
  __syncwarp();
  if (tile.key_run != kAllRuns) {
    const auto run = sum_run<kDtype, kHeadDim>(call, tile, tile.key_run, position, head / group, q, weights);
    float* part = call.partials + partial_offset(tile.first_partial + token, head, heads, kHeadDim);
    for (int j = 0; j < kPerLane; ++j) part[lane + 32 * j] = run.total[j];
    if (lane == 0) part[kHeadDim] = run.max;
    if (lane == 0) part[kHeadDim + 1] = run.sum;
    __syncwarp();
    return;
  }
  RunFold fold;
  float total[kPerLane] = {};
  for (int i = 0; tile.first_key + i * kKeyRun <= position; ++i) {
    const auto run = sum_run<kDtype, kHeadDim>(call, tile, i, position, head / group, q, weights);
    float keep, add;
    fold.add(run.max, run.sum, keep, add);
    for (int j = 0; j < kPerLane; ++j) total[j] = fold_total(total[j], run.total[j], keep, add);
  }
  bf16* out = static_cast<bf16*>(call.out) + row;
  for (int j = 0; j < kPerLane; ++j) {
    out[lane + 32 * j] = attention_result(total[j], fold.sum, call.cache.v_scale);
  }
  __syncwarp();
}

template <model::KvDtype kDtype, int kHeadDim>
__global__ void __launch_bounds__(kThreads)
    attend(const AttentionCall call, const AttentionTile* tiles, const int32_t* count, int heads) {
  __shared__ float q[kWarps][kHeadDim], weights[kWarps][kPagePositions];
  wait_for_previous();
  const int warp = threadIdx.x / 32, items = *count * call.cache.kv_heads;
  const int group = heads / call.cache.kv_heads;
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    const AttentionTile tile = tiles[item / call.cache.kv_heads];
    const int first_head = item % call.cache.kv_heads * group;
    for (int i = warp; i < tile.num_tokens * group; i += kWarps) {
      attend_row<kDtype, kHeadDim>(call, tile, i / group, first_head + i % group, heads, group, q[warp],
                                   weights[warp]);
    }
  }
}

template <model::KvDtype kDtype, int kHeadDim>
void launch_both(const AttentionCall& call, int heads, int num_sms, cudaStream_t stream) {
  const AttentionLists& lists = call.lists;
  const dim3 grid(num_sms * kPlainBlocksPerSm);
  if (lists.has_narrow) {
    launch(attend<kDtype, kHeadDim>, grid, kThreads, 0, stream, call, lists.narrow, lists.counts, heads);
  }
  if (lists.has_wide) {
    launch(attend<kDtype, kHeadDim>, grid, kThreads, 0, stream, call, lists.wide, lists.counts + 1, heads);
  }
}

}  // namespace

AttentionKernels plain_attention_kernels(const AttentionShape& shape) {
  const bool fp8 = shape.dtype == model::KvDtype::kFp8E4m3;
  const auto run =
      shape.head_dim == 128
          ? (fp8 ? launch_both<model::KvDtype::kFp8E4m3, 128> : launch_both<model::KvDtype::kBf16, 128>)
          : (fp8 ? launch_both<model::KvDtype::kFp8E4m3, 64> : launch_both<model::KvDtype::kBf16, 64>);
  return {run, 1, 8, kPlainBlocksPerSm};
}

}  // namespace outrider::cuda

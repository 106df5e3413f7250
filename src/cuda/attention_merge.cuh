// Folds the partial sums of rows whose runs several blocks have summed. One warp a (row, head).
#pragma once

#include "cuda/attention_runs.cuh"
#include "cuda/launch.cuh"

namespace outrider::cuda {

inline constexpr int kMergeThreads = 256;

template <int kHeadDim>
__global__ void __launch_bounds__(kMergeThreads) attention_merge(const AttentionCall call, int heads) {
  constexpr int kPerLane = kHeadDim / 32;
  let_next_start();
  const int lane = threadIdx.x % 32, warps = gridDim.x * (kMergeThreads / 32);
  const int count = call.lists.counts[2] * heads;
  int i = blockIdx.x * (kMergeThreads / 32) + threadIdx.x / 32;
  AttentionMerge merge{};
  if (i < count) merge = call.lists.merges[i / heads];
  wait_for_previous();
  for (; i < count; i += warps) {
    merge = call.lists.merges[i / heads];
    const int head = i % heads;
    RunFold fold;
    float total[kPerLane] = {};
#pragma unroll 4
    for (int run = 0; run < merge.num_runs; ++run) {
      const float* part = call.partials + partial_offset(merge.first_partial + run * merge.partial_stride,
                                                         head, heads, kHeadDim);
      float keep, add;
      fold.add(part[kHeadDim], part[kHeadDim + 1], keep, add);
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) {
        total[j] = fold_total(total[j], part[lane + 32 * j], keep, add);
      }
    }
    const int64_t out = (int64_t{merge.row} * heads + head) * kHeadDim + lane;
    const float factor = __fdiv_rn(call.cache.v_scale, fold.sum);
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) store_result(call.out, out + 32 * j, total[j], factor);
  }
}

}  // namespace outrider::cuda

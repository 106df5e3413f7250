// Instances of the attention kernel for one cache type and head size.
#pragma once

#include "cuda/attention_instances.h"
#include "cuda/attention_kernel.cuh"

namespace outrider::cuda {

// Narrow: 16 columns of the instruction, for FP8 8 of them residuals; three pages in flight and as many
// blocks an SM as fit, at most 4. Wide: three warpgroups of 32 columns share each page, one block an SM.
template <model::KvDtype kDtype, int kHeadDim>
struct AttentionInstances {
  static constexpr bool kIsFp8 = kDtype == model::KvDtype::kFp8E4m3;
  using Narrow = AttentionTraits<kDtype, kHeadDim, 16, 1, 3, false>;
  using Wide = AttentionTraits<kDtype, kHeadDim, kIsFp8 ? 64 : 32, 3, 3, true>;

  static void run(const AttentionCall& call, int heads, int num_sms, cudaStream_t stream) {
    const AttentionLists& lists = call.lists;
    if (lists.has_narrow) {
      launch(attend<Narrow>, num_sms * Narrow::kBlocksPerSm, Narrow::kThreads, Narrow::kSharedBytes, stream,
             call, lists.narrow, lists.counts, heads);
    }
    if (lists.has_wide) {
      launch(attend<Wide>, num_sms, Wide::kThreads, Wide::kSharedBytes, stream, call, lists.wide,
             lists.counts + 1, heads);
    }
  }
};

template <typename T>
void let_use_shared_memory() {
  check(cudaFuncSetAttribute(attend<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, T::kSharedBytes),
        "cudaFuncSetAttribute");
}

template <model::KvDtype kDtype, int kHeadDim>
AttentionKernels attention_kernels(const AttentionShape& shape) {
  using Instances = AttentionInstances<kDtype, kHeadDim>;
  using Narrow = typename Instances::Narrow;
  using Wide = typename Instances::Wide;
  let_use_shared_memory<Narrow>();
  let_use_shared_memory<Wide>();
  const int group = shape.heads / shape.kv_heads;
  return {Instances::run, Narrow::kColumns / group, Wide::kGroups * (Wide::kColumns / group),
          Narrow::kBlocksPerSm};
}

}  // namespace outrider::cuda

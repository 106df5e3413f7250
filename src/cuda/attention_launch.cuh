// Instances of the attention kernel for one cache type and head size.
#pragma once

#include <type_traits>

#include "cuda/attention_instances.h"
#include "cuda/attention_prompt.cuh"

namespace outrider::cuda {

template <typename Kernel>
void let_use_shared_memory(Kernel* kernel, int bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "cudaFuncSetAttribute");
}

// Narrow: 8 or 16 columns of the instruction; three pages in flight and as many blocks an SM as fit, at
// most 4. Wide: attention_prompt.cuh, or three warpgroups of 32 columns that share each page; one block an
// SM.
template <model::KvDtype kDtype, int kHeadDim>
struct AttentionInstances {
  static constexpr bool kIsFp8 = kDtype == model::KvDtype::kFp8E4m3;
  static constexpr bool kHasPrompt = kIsFp8 && kHeadDim == 128;
  using Narrow = AttentionTraits<kDtype, kHeadDim, kIsFp8 ? 8 : 16, 1, 3, false>;
  using Columns = AttentionTraits<kDtype, kHeadDim, 32, 3, 3, true>;
  using Wide = std::conditional_t<kHasPrompt, PromptTraits, Columns>;

  static auto wide_kernel() {
    if constexpr (kHasPrompt) {
      return attend_prompt<Wide>;
    } else {
      return attend<Wide>;
    }
  }
  static int wide_tokens(int group) {
    if constexpr (kHasPrompt) {
      return Wide::kRows / group;
    } else {
      return Wide::kGroups * (Wide::kColumns / group);
    }
  }
  static void prepare() {
    let_use_shared_memory(attend<Narrow>, Narrow::kSharedBytes);
    let_use_shared_memory(decode<Narrow>, Narrow::kSharedBytes);
    let_use_shared_memory(wide_kernel(), Wide::kSharedBytes);
  }

  static void run_decode(const QkvFinish& finish, const AttentionCall& call, int num_sms,
                         cudaStream_t stream) {
    launch(decode<Narrow>, num_sms * Narrow::kBlocksPerSm, Narrow::kThreads, Narrow::kSharedBytes, stream,
           finish, call);
  }
  static void run(const AttentionCall& call, int heads, int num_sms, cudaStream_t stream) {
    const AttentionLists& lists = call.lists;
    if (lists.has_narrow) {
      launch(attend<Narrow>, num_sms * Narrow::kBlocksPerSm, Narrow::kThreads, Narrow::kSharedBytes, stream,
             call, lists.narrow, lists.counts, heads);
    }
    if (lists.has_wide) {
      launch(wide_kernel(), num_sms, Wide::kThreads, Wide::kSharedBytes, stream, call, lists.wide,
             lists.counts + 1, heads);
    }
  }
};

template <model::KvDtype kDtype, int kHeadDim>
AttentionKernels attention_kernels(const AttentionShape& shape) {
  using Instances = AttentionInstances<kDtype, kHeadDim>;
  using Narrow = typename Instances::Narrow;
  Instances::prepare();
  const int group = shape.heads / shape.kv_heads;
  return {Instances::run, Instances::run_decode, Narrow::kColumns / group, Instances::wide_tokens(group),
          Narrow::kBlocksPerSm};
}

}  // namespace outrider::cuda

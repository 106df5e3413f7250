#include "cuda/attention.h"

#include <algorithm>

#include "cuda/attention_instances.h"
#include "cuda/attention_merge.cuh"

namespace outrider::cuda {
namespace {

constexpr int kMergeBlocksPerSm = 4;

AttentionKernels kernels_for(const AttentionShape& shape) {
  const bool fp8 = shape.dtype == model::KvDtype::kFp8E4m3;
  if ((!fp8 && shape.dtype != model::KvDtype::kBf16) || (shape.head_dim != 64 && shape.head_dim != 128) ||
      shape.heads % shape.kv_heads != 0 || shape.heads / shape.kv_heads > kMaxHeadGroup) {
    throw DeviceError("attention: no kernel for " + std::to_string(shape.heads) + "/" +
                      std::to_string(shape.kv_heads) + " heads of " + std::to_string(shape.head_dim));
  }
  return fp8 ? fp8_attention_kernels(shape) : bf16_attention_kernels(shape);
}

}  // namespace

Attention::Attention(const AttentionShape& shape, int num_sms)
    : shape_(shape), num_sms_(num_sms), kernels_(kernels_for(shape)) {}

AttentionTiling Attention::tiling(int max_partials) const {
  return {kernels_.narrow_tokens, kernels_.wide_tokens, shape_.kv_heads,
          num_sms_ * kernels_.narrow_blocks_per_sm, max_partials};
}

void Attention::operator()(const AttentionCall& call, cudaStream_t stream) const {
  kernels_.run(call, shape_.heads, num_sms_, stream);
  merge(call, stream);
}

void Attention::decode(const QkvFinish& finish, const AttentionCall& call, cudaStream_t stream) const {
  kernels_.decode(finish, call, num_sms_, stream);
  merge(call, stream);
}

void Attention::merge(const AttentionCall& call, cudaStream_t stream) const {
  if (call.lists.num_merges == 0) return;
  const auto kernel = shape_.head_dim == 128 ? attention_merge<128> : attention_merge<64>;
  const int blocks = (call.lists.num_merges * shape_.heads + kMergeThreads / 32 - 1) / (kMergeThreads / 32);
  launch(kernel, std::min(blocks, num_sms_ * kMergeBlocksPerSm), kMergeThreads, 0, stream, call,
         shape_.heads);
}

}  // namespace outrider::cuda

// Attention over bf16 pages.
#include "cuda/attention_launch.cuh"

namespace outrider::cuda {

AttentionKernels bf16_attention_kernels(const AttentionShape& shape) {
  return shape.head_dim == 128 ? attention_kernels<model::KvDtype::kBf16, 128>(shape)
                               : attention_kernels<model::KvDtype::kBf16, 64>(shape);
}

}  // namespace outrider::cuda

// Attention over FP8 pages.
#include "cuda/attention_launch.cuh"

namespace outrider::cuda {

AttentionKernels fp8_attention_kernels(const AttentionShape& shape) {
  return shape.head_dim == 128 ? attention_kernels<model::KvDtype::kFp8E4m3, 128>(shape)
                               : attention_kernels<model::KvDtype::kFp8E4m3, 64>(shape);
}

}  // namespace outrider::cuda

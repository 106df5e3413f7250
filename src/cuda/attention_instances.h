// The kernels of one shape, behind functions that a plain compiler can call.
#pragma once

#include "cuda/attention.h"

namespace outrider::cuda {

// One file each, for the compiler's sake. They let the kernels use the shared memory that they need.
AttentionKernels fp8_attention_kernels(const AttentionShape& shape);
AttentionKernels bf16_attention_kernels(const AttentionShape& shape);

}  // namespace outrider::cuda

// Products whose groups have many tokens (gemm.h).
#pragma once

#include "cuda/gemm.h"

namespace outrider::cuda {

void gemm_wide(const GemmCall& call, int num_sms, cudaStream_t stream);
void prepare_gemm_wide();

}  // namespace outrider::cuda

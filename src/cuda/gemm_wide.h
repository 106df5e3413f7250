// Products whose groups have many tokens (gemm.h).
#pragma once

#include "cuda/gemm.h"

namespace outrider::cuda {

inline constexpr int kWideBoxTokens[2] = {
    96, 80};  // of GemmInput::wide_tensor: for matrices of one segment, of more

void gemm_wide(const GemmCall& call, int num_sms, cudaStream_t stream);
void prepare_gemm_wide();

}  // namespace outrider::cuda

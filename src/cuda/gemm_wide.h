// Products whose groups have many tokens (gemm.h).
#pragma once

#include "cuda/gemm.h"

namespace outrider::cuda {

inline constexpr int kTokenStep = 32;  // of tiles: 32, 64, ... 192 tokens

void gemm_wide(const GemmCall& call, int num_sms, cudaStream_t stream);
void prepare_gemm_wide();

}  // namespace outrider::cuda

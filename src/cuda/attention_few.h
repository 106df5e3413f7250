// Decode of few rows: what qkv_finish, the attention kernel and its merge do, in one launch. Their arithmetic
// in their order, so the same bits.
#pragma once

#include "cuda/attention.h"
#include "cuda/qkv_finish.h"

namespace outrider::cuda {

// Where every sequence has one new token, contexts are short, and the blocks are few enough to run at once.
bool takes_few_rows(const AttentionShape& shape, int rows, const AttentionLists& lists, int num_sms);

// `finish.q` and the tiles of `call.lists` are not used. Must come behind a narrow product (gemm.h), which
// lets it start only once everything older has ended: it reads the cache's older positions before its own
// wait.
void attend_few(const QkvFinish& finish, const AttentionCall& call, cudaStream_t stream);

// Once a process and device, before the first attend_few().
void prepare_attend_few();

}  // namespace outrider::cuda

// How a step's attention is cut into tiles. Plain host code; results do not depend on it (batch.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cuda/batch.h"
#include "model/memory_plan.h"

namespace outrider::cuda {

struct AttentionShape {
  int heads = 0, kv_heads = 0, head_dim = 0;
  model::KvDtype dtype = model::KvDtype::kFp8E4m3;
};

// Query columns (token, head of the group) that a block takes: narrow tiles for decode, where the cache is
// read once and arithmetic is free; wide ones for prompts, where several warpgroups share each page.
struct AttentionTiling {
  int narrow_tokens = 1;
  int wide_tokens = 1;
  int kv_heads = 1;
  int narrow_blocks = 1;  // that run at once
  int max_partials = 0;
};

// Runs of all sequences at full length, but no more than 4096 sums: a longer list would not be faster.
int max_attention_partials(int max_num_seqs, int64_t max_model_len);
int64_t attention_workspace_bytes(const AttentionShape& shape, int max_partials);

// Longest lists that plan_attention makes.
inline int max_attention_tiles(int max_num_batched_tokens, int max_partials) {
  return max_num_batched_tokens + max_partials;
}

struct AttentionWork {
  std::vector<AttentionTile> narrow, wide;
  std::vector<AttentionMerge> merges;
  int num_partials = 0;
  int decode_runs = 0;  // most runs of a row, where every sequence has one new token; else 0
  // Whether those who attend to such rows also finish them: each block that has a run of one would, so that
  // it pays where rows are whole or few.
  bool finishes = false;
};

// For the layers with this chunk size; 0: full attention. Longest tiles come first.
void plan_attention(std::span<const BatchSequence> sequences, int chunk_size, const AttentionTiling& tiling,
                    AttentionWork& work);

}  // namespace outrider::cuda

// Causal attention of new tokens over the paged cache.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/aligned_buffer.h"
#include "cpu/kv_cache.h"
#include "cpu/thread_pool.h"

namespace outrider::cpu {

// Neighbouring new tokens of one sequence that see keys from the same position on.
struct AttentionItem {
  int sequence = 0;
  int first_row = 0;  // of q and out
  int num_tokens = 0;
  int first_position = 0;
  int first_key = 0;  // start of the chunk, or 0
};

// At most so many tokens an item: with the 5 query heads of a KV head, 40 rows share an expanded key.
inline constexpr int kAttentionTokens = 8;
inline constexpr int kMaxHeadDim = 256;

// Cuts `num_tokens` tokens from `first_position` on into items; chunk_size 0: full attention.
void add_attention_items(int sequence, int first_row, int first_position, int num_tokens, int chunk_size,
                         std::vector<AttentionItem>& items);

struct AttentionCall {
  const KvCache* cache = nullptr;
  int layer = 0;
  KvScales scales;
  const float* q = nullptr;  // [rows, heads * head_dim]
  float* out = nullptr;      // the same shape
  // Pages of this layer's group, of sequence s: pages[s * page_stride + position / block_size].
  const int32_t* pages = nullptr;
  int64_t page_stride = 0;
};

class Attention {
 public:
  Attention(const model::LlamaConfig& config, ThreadPool& pool);
  // A row's result depends on its own q, its position and the keys it sees: not on how tokens were cut into
  // items.
  void operator()(const AttentionCall& call, std::span<const AttentionItem> items);

 private:
  int heads_, kv_heads_, head_dim_;
  ThreadPool& pool_;
  int64_t workspace_floats_;
  AlignedBuffer workspace_;  // [threads][workspace_floats_]
};

// What one kernel call works on: one item, one KV head.
struct AttentionTask {
  const AttentionCall* call;
  const AttentionItem* item;
  int heads, kv_heads, head_dim, kv_head;
  float* workspace;
};

}  // namespace outrider::cpu

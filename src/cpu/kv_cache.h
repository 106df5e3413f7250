// The paged KV cache: where a position's K and V lie, and how they get there.
//
// A page (model::KvGeometry) holds, for each layer of its group:
//   K: [kv_heads][head_dim][block_size]   V: [kv_heads][block_size][head_dim]
// K has positions innermost: scores of 16 positions are then one vector, and need no sum across lanes.
#pragma once

#include <cstdint>

#include "cpu/aligned_buffer.h"
#include "model/config.h"
#include "model/memory_plan.h"

namespace outrider::cpu {

// Stored code * scale = value. 1 unless the cache is FP8.
struct KvScales {
  float k = 1.0f, v = 1.0f;
};

class KvCache {
 public:
  KvCache(const model::LlamaConfig& config, const model::KvGeometry& geometry);

  const model::KvGeometry& geometry() const { return geometry_; }
  int element_bytes() const { return element_bytes_; }

  // First element of K [head_dim][block_size] or V [block_size][head_dim] of one head in one page.
  const uint8_t* k_head(int page, int layer, int head) const { return head_at(page, layer, 0, head); }
  const uint8_t* v_head(int page, int layer, int head) const { return head_at(page, layer, 1, head); }

  // Writes k and v ([kv_heads * head_dim]) of one position, rounded to the cache's type.
  void store(int page, int offset, int layer, const KvScales& scales, const float* k, const float* v);

 private:
  const uint8_t* head_at(int page, int layer, int v, int head) const {
    return memory_.as<uint8_t>() + page * page_bytes_ +
           ((int64_t{2} * geometry_.index_in_group[layer] + v) * kv_heads_ + head) * head_bytes_;
  }

  model::KvGeometry geometry_;
  int kv_heads_, head_dim_, element_bytes_;
  int64_t head_bytes_, page_bytes_;
  AlignedBuffer memory_;
};

}  // namespace outrider::cpu

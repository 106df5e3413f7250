// Every buffer's size as a formula of configuration and options, before anything is allocated.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/weights.h"

namespace outrider::model {

enum class KvDtype { kBf16, kFp8E4m3, kF32 };  // kF32: CPU only, to meet fp32 goldens exactly

constexpr int bytes_of(KvDtype dtype) {
  return dtype == KvDtype::kFp8E4m3 ? 1 : dtype == KvDtype::kBf16 ? 2 : 4;
}

// The KV cache's shape. Layers are dealt into groups of equal size; a page holds K and V of one group's
// layers for `block_size` consecutive positions of one sequence. All full-attention (NoPE) layers form the
// first groups, all chunked (RoPE) layers the others, so that pages of closed chunks can go back to the pool.
// Scout: 12 NoPE + 36 RoPE layers = 1 full + 3 chunked groups of 12.
struct KvGeometry {
  int block_size = 16;  // positions a page
  int num_blocks = 0;   // pages in the pool
  int layers_per_group = 0;
  KvDtype dtype = KvDtype::kFp8E4m3;
  std::vector<int> group_of_layer;     // [num_layers]
  std::vector<int> index_in_group;     // [num_layers], 0..layers_per_group-1
  std::vector<bool> group_is_chunked;  // [num_groups]
  int chunk_size = 0;                  // attention_chunk_size
  int num_groups() const { return static_cast<int>(group_is_chunked.size()); }
  int64_t page_bytes(const LlamaConfig& c) const {
    return int64_t{2} * layers_per_group * block_size * c.kv_size() * bytes_of(dtype);
  }
};

struct PlanRow {
  std::string name;
  int64_t bytes = 0;
};

struct MemoryOptions {
  int64_t max_model_len = 0;
  int max_num_seqs = 256;
  int max_num_batched_tokens = 8192;
  int block_size = 16;
  KvDtype kv_dtype = KvDtype::kBf16;
  int64_t device_bytes = 0;     // memory that may be used in all (share of the device or of the host)
  int64_t kv_cache_bytes = 0;   // > 0: exactly this much KV (--kv-cache-memory-bytes)
  int num_blocks_override = 0;  // > 0: exactly so many pages (--num-gpu-blocks-override)
  std::vector<PlanRow> rows;    // what the device needs beside the KV cache; empty: the CPU runner's formulas
};

struct MemoryPlan {
  KvGeometry kv;
  std::vector<PlanRow> rows;  // weights, activations, logits, KV cache...
  int64_t total_bytes = 0;
  int64_t max_model_len = 0;
  // Sequences of max_model_len tokens that the pool holds at once, and their tokens.
  double max_concurrency = 0.0;
  int64_t kv_tokens = 0;

  // For the log and `outrider inspect`: a row a line, then their total; and one line in vLLM's words, "KV
  // cache size: 3,995,318 tokens (...). Maximum ...".
  std::string table() const;
  std::string kv_text() const;
};

KvGeometry make_kv_geometry(const LlamaConfig& config, int block_size, KvDtype dtype);

// Pages that one sequence of `tokens` tokens holds at its peak, over all groups. Assumes of the scheduler
// that no step of a sequence crosses a chunk edge and that pages of a closed chunk go back when its last step
// is done; one page a group is counted for the next chunk's first step, which may be planned before that.
int64_t pages_for_sequence(const KvGeometry& kv, int64_t tokens);

// The longest sequence that `num_blocks` pages hold; 0: not even one token.
int64_t max_tokens_for_pages(const KvGeometry& kv, int64_t num_blocks);

// Bytes of all weights as they lie in memory.
int64_t weight_bytes(const Weights& weights);

// Bytes of weights that a step reads: `common` whatever is in it, and `expert` for each expert that its
// tokens reach, counted over all layers at once. The embedding's few rows are left out.
struct StepWeights {
  int64_t common = 0, expert = 0;
};
StepWeights step_weights(const Weights& weights);

// max_model_len 0 stands for the model's max_position_embeddings. Without kv_cache_bytes or
// num_blocks_override the pool takes what device_bytes leaves, but no more than max_num_seqs sequences of
// max_model_len can use. Throws StartupError with the --max-model-len and --max-num-seqs that fit when the
// options do not.
MemoryPlan plan_memory(const Model& model, const MemoryOptions& options);

}  // namespace outrider::model

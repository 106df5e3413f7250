// Llama 4's text model on an NVIDIA GPU: the forward pass as a list of kernel launches, in the order of the
// paper's equations and of src/cpu/llama4.h. The residual stream and what lies between products are bf16;
// products accumulate in fp32. Nothing here allocates after construction. Not thread-safe: one thread calls
// forward() and logits().
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cuda/attention.h"
#include "cuda/batch.h"
#include "cuda/device_weights.h"
#include "cuda/elementwise.h"
#include "cuda/expert_tally.h"
#include "cuda/gemm.h"
#include "cuda/kv_cache.h"
#include "model/memory_plan.h"
#include "model/weights.h"

namespace outrider::cuda {

// One step's input, on the device but for the counts. All that forward() knows of a step: a graph of its
// launches stands for every step that equals this one.
struct Step {
  Batch batch;
  const int32_t* row_range = nullptr;   // {0, num_rows}
  AttentionLists full, chunked;         // for NoPE and RoPE layers
  const int32_t* last_token = nullptr;  // by slot
  bool recurs = false;                  // StepMaker
  friend bool operator==(const Step&, const Step&) = default;
};

struct Limits {
  int max_rows = 0;        // new tokens of a step
  int max_logit_rows = 0;  // of one call of logits()
  int max_num_seqs = 0;
  int64_t max_model_len = 0;
};

class Llama4 {
 public:
  // Throws StartupError naming what the kernels do not take. Needs no device.
  static void check_shapes(const model::LlamaConfig& config, const model::KvGeometry& geometry);

  // Uploads the weights and allocates the KV cache and every buffer. Throws StartupError for shapes that the
  // kernels do not take, DeviceError when memory is short.
  Llama4(std::shared_ptr<const model::Model> model, const model::KvGeometry& geometry, const Limits& limits);

  // What the constructor allocates beside weights and KV cache, by name; the plan's rows.
  static std::vector<model::PlanRow> working_memory(const model::LlamaConfig& config, const Limits& limits,
                                                    model::KvDtype dtype);

  // Computes the residual stream of every row and fills the KV cache.
  void forward(const Step& step, cudaStream_t stream);
  // logits [count, vocab_size] fp32 of rows row_index [count] (device) of the last forward().
  void logits(const int32_t* row_index, int count, float* out, cudaStream_t stream);

  // Of the last forward(): its first num_rows * experts_per_token pairs.
  ExpertChoices expert_choices() const {
    return {choices_, int64_t{limits_.max_rows} * config_.num_experts_per_token, config_.num_layers,
            config_.num_experts};
  }

  AttentionTiling attention_tiling() const { return attention_.tiling(max_partials_); }
  const AttentionShape& attention_shape() const { return attention_shape_; }
  int num_sms() const { return num_sms_; }

 private:
  // A product's input buffer, readable as either type.
  struct Input {
    void* data = nullptr;
    GemmInput fp8, bf16;
  };

  void allocate();
  Input make_input(int64_t offset, int64_t rows, int k) const;

  void embed(const Step& step);
  void layer(const Step& step, int l);
  void attention(const Step& step, int l);
  void moe(const Step& step, int l);
  void few_experts(const AddNormRoute& route, const DeviceLayer& w, const Step& step);
  void many_experts(const AddNormRoute& route, const DeviceLayer& w, const Step& step);
  void mixed_experts(const DeviceLayer& w);
  void dense_mlp(const Step& step, int l);
  AddNorm add_norm_call(const void* weight, const Input& out, const DeviceLinear& next) const;
  GemmCall product(const DeviceLinear& linear, const Input& x, void* y, const int32_t* range,
                   int rows_a_group) const;
  GemmCall gated(GemmCall call, const Input& out, const DeviceLinear& next) const;
  KvLayer cache_of_layer(int l) const;

  const std::shared_ptr<const model::Model> model_;
  const model::LlamaConfig& config_;
  const model::KvGeometry geometry_;
  const Limits limits_;
  const int num_sms_;
  const AttentionShape attention_shape_;
  const int max_partials_;
  Attention attention_;
  DeviceWeights weights_;
  DeviceBuffer cache_, memory_, rope_frequencies_;

  // bf16 [rows, ...] unless said otherwise; named as in src/cpu/llama4.h.
  void *residual_ = nullptr, *normed_ = nullptr, *update_ = nullptr;
  void *qkv_ = nullptr, *q_ = nullptr;
  void* expert_out_ = nullptr;
  void* few_out_ = nullptr;  // [2 * kFewTokens, hidden]
  float* partials_ = nullptr;
  SplitTotals split_totals_;
  Input attention_in_, context_in_, shared_in_, expert_in_, shared_act_, expert_act_, dense_act_, logit_in_;
  Input few_in_, few_act_;  // [2 * kFewTokens, ...]
  // shared_in_ and expert_in_ as one, shared_act_ and expert_act_ too: [rows + pairs, ...]
  Input mixed_in_, mixed_act_;
  int32_t* choices_ = nullptr;  // [layers, pairs]: expert_of_pair_ of each layer
  // Routing of the current layer. A pair is (row, rank of the expert): row * experts_per_token + rank.
  int32_t *expert_of_pair_ = nullptr, *rank_of_pair_ = nullptr, *place_of_pair_ = nullptr;  // [pairs]
  int32_t *count_of_expert_ = nullptr, *expert_begin_ = nullptr;  // [experts + 1], [experts + 2]
  float* score_of_pair_ = nullptr;

  // What the last sub-layer added, not yet in the residual stream: the next norm adds it.
  const void *pending_update_ = nullptr, *pending_experts_ = nullptr;
  const int32_t* pending_places_ = nullptr;
  int rows_ = 0;
  cudaStream_t stream_ = nullptr;
};

}  // namespace outrider::cuda

// Llama 4's text model on the CPU: the forward pass as a list of kernel calls, in the order of the paper's
// equations. Activations are fp32 throughout. Not thread-safe: one thread calls forward() and logits().
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cpu/aligned_buffer.h"
#include "cpu/attention.h"
#include "cpu/kv_cache.h"
#include "cpu/matmul.h"
#include "cpu/packed_matrix.h"
#include "cpu/thread_pool.h"
#include "model/memory_plan.h"
#include "model/weights.h"

namespace outrider::cpu {

enum class ActivationQuantization {
  kNone,        // fp32 activations times dequantised weights
  kCheckpoint,  // rounded before each quantised product as the checkpoint's scales say
};

// New tokens of one sequence, neighbours in position and in the batch.
struct BatchSequence {
  int first_row = 0;
  int num_tokens = 0;
  int first_position = 0;
};

struct Batch {
  std::vector<int32_t> tokens;     // [rows]
  std::vector<int32_t> positions;  // [rows]
  std::vector<BatchSequence> sequences;
  const int32_t* pages = nullptr;  // runner::StepPlan::pages
  int blocks_per_row = 0;
};

class Llama4 {
 public:
  // Throws StartupError for shapes that the kernels do not take. Weights are repacked when they are needed
  // or when there is time.
  Llama4(std::shared_ptr<const model::Model> model, const model::KvGeometry& geometry, int max_rows,
         ActivationQuantization quantization, ThreadPool& pool);

  // Computes the residual stream of every row and fills the KV cache. `batch` must live until the next call.
  void forward(const Batch& batch);
  // logits [rows.size(), vocab_size] of some rows of the last forward(); at most max_logit_rows().
  void logits(std::span<const int32_t> rows, float* out);
  static constexpr int max_logit_rows() { return 64; }

  // Repacks one more matrix ahead of need; false when none is left. For idle time.
  bool pack_next() { return packer_.pack_next(pool_); }

  // The parts of forward(), for tests that look inside.
  void begin(const Batch& batch);
  void embed();
  void layer(int l);

  // Row-major fp32 buffers of the last layer computed, [rows of the batch, ...].
  struct Activations {
    float* residual;                // [hidden] the residual stream
    float* normed;                  // [hidden] input of attention or FFN
    float *q, *k, *v;               // after rotation, QK norm and temperature
    float* context;                 // [q_size] input of o_proj
    float* update;                  // [hidden] what the last sub-layer added
    float* router_logits;           // [experts]
    float *gate, *up;               // rows of the shared expert or dense MLP, then the experts' rows
    float *expert_in, *expert_out;  // [rows * experts_per_token, hidden], sorted by expert
  };
  const Activations& activations() const { return act_; }
  const std::vector<int32_t>& expert_of_row() const { return expert_of_pair_; }
  const KvCache& cache() const { return cache_; }

 private:
  struct PackedMlp {
    PackedMatrix gate, up, down;
  };
  struct PackedLayer {
    PackedMatrix q, k, v, o, router;
    std::vector<PackedMlp> experts;
    PackedMlp shared_expert, dense;
    KvScales kv_scales;
  };
  // y = x W^T
  struct Linear {
    const PackedMatrix* w;
    const float* x;
    float* y;
    int m;
  };

  void check_shapes() const;
  void register_weights();
  void pack_needed(std::span<const Linear> products);
  void allocate(int max_rows);

  void attention(int l);
  void position_and_store(int l);
  void moe(int l);
  void route(int l);
  void sort_by_expert();
  void dense_mlp(int l);
  void add_and_norm(const float* update, const uint16_t* weight, float* out);
  void linear(std::span<const Linear> products);
  const float* quantized(const Linear& product, float** free_codes);
  template <typename Fn>
  void for_rows(int64_t rows, int64_t floats_per_row, const Fn& fn);

  const std::shared_ptr<const model::Model> model_;
  const model::LlamaConfig& config_;
  const ActivationQuantization quantization_;
  ThreadPool& pool_;
  Matmul matmul_;
  Attention attention_;
  KvCache cache_;
  WeightPacker packer_;
  std::vector<PackedLayer> layers_;
  PackedMatrix lm_head_;
  std::vector<float> rope_frequencies_;

  const Batch* batch_ = nullptr;
  int rows_ = 0;
  std::vector<int> sequence_of_row_;
  std::vector<float> rope_angles_;   // [rows, head_dim]
  std::vector<float> temperatures_;  // [rows]
  std::vector<AttentionItem> full_items_, chunked_items_;

  AlignedBuffer memory_;
  Activations act_{};
  float* codes_ = nullptr;  // activations rounded to codes
  float* logit_rows_ = nullptr;

  // Routing of the current layer. A pair is (row, rank of the expert): row * experts_per_token + rank.
  std::vector<int32_t> expert_of_pair_;
  std::vector<float> score_of_pair_;
  std::vector<int32_t> place_of_pair_;  // row of expert_in
  std::vector<int32_t> expert_begin_;   // [experts + 1], rows of expert_in
  std::vector<Linear> products_;
  std::vector<MatmulJob> jobs_;
  std::vector<int> unpacked_;
};

}  // namespace outrider::cpu

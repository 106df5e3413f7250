// Construction of Llama4: shape checks, packed weights, buffers.
#include <algorithm>
#include <string>

#include "base/error.h"
#include "cpu/llama4.h"
#include "model/rope_frequencies.h"

namespace outrider::cpu {

Llama4::Llama4(std::shared_ptr<const model::Model> model, const model::KvGeometry& geometry, int max_rows,
               ActivationQuantization quantization, ThreadPool& pool)
    : model_(std::move(model)),
      config_(model_->config),
      quantization_(quantization),
      pool_(pool),
      matmul_(pool),
      attention_(config_, pool),
      cache_(config_, geometry),
      rope_frequencies_(model::rope_frequencies(config_)) {
  check_shapes();
  register_weights();
  allocate(max_rows);
}

// Vectors and NVFP4 blocks are 16 wide; padding every buffer for odd shapes would serve no published model.
void Llama4::check_shapes() const {
  auto check = [](const char* name, int value) {
    if (value % 16 != 0) {
      throw StartupError(std::string("the CPU runner needs ") + name + " to be a multiple of 16; it is " +
                         std::to_string(value));
    }
  };
  check("hidden_size", config_.hidden_size);
  check("head_dim", config_.head_dim);
  if (config_.head_dim > kMaxHeadDim) {
    throw StartupError("the CPU runner takes a head_dim up to " + std::to_string(kMaxHeadDim) + "; it is " +
                       std::to_string(config_.head_dim));
  }
  check("intermediate_size", config_.intermediate_size);
  check("intermediate_size_mlp", config_.intermediate_size_mlp);
}

void Llama4::register_weights() {
  const model::Weights& weights = model_->weights;
  auto add = [&](const model::Matrix& from, PackedMatrix& to) {
    if (!from.empty()) packer_.add(from, to);
  };
  auto add_mlp = [&](const model::Mlp& from, PackedMlp& to) {
    add(from.gate, to.gate);
    add(from.up, to.up);
    add(from.down, to.down);
  };
  layers_.resize(weights.layers.size());
  for (size_t l = 0; l < layers_.size(); ++l) {
    const model::Layer& from = weights.layers[l];
    PackedLayer& to = layers_[l];
    add(from.q, to.q);
    add(from.k, to.k);
    add(from.v, to.v);
    add(from.o, to.o);
    add(from.router, to.router);
    to.experts.resize(from.experts.size());
    for (size_t e = 0; e < to.experts.size(); ++e) add_mlp(from.experts[e], to.experts[e]);
    add_mlp(from.shared_expert, to.shared_expert);
    add_mlp(from.dense, to.dense);
    if (cache_.geometry().dtype == model::KvDtype::kFp8E4m3) to.kv_scales = {from.k_scale, from.v_scale};
  }
  add(weights.lm_head, lm_head_);
  packer_.allocate();
}

void Llama4::allocate(int max_rows) {
  const int64_t rows = max_rows, pairs = rows * std::max(1, config_.num_experts_per_token);
  const int64_t hidden = config_.hidden_size;
  const int64_t inner =
      std::max((rows + pairs) * config_.intermediate_size, rows * config_.intermediate_size_mlp);
  const bool quantized = quantization_ == ActivationQuantization::kCheckpoint;
  // The most that one linear() call rounds: x of q, k, v apart, of gate and up apart, or of the down
  // products.
  const int64_t codes =
      quantized ? std::max({3 * rows * hidden, 2 * (rows + pairs) * hidden, inner, rows * config_.q_size()})
                : 0;

  struct Request {
    float** to;
    int64_t floats;
  };
  const Request requests[] = {
      {&act_.residual, rows * hidden},
      {&act_.normed, rows * hidden},
      {&act_.q, rows * config_.q_size()},
      {&act_.k, rows * config_.kv_size()},
      {&act_.v, rows * config_.kv_size()},
      {&act_.context, rows * config_.q_size()},
      {&act_.update, rows * hidden},
      {&act_.router_logits, rows * config_.num_experts},
      {&act_.gate, inner},
      {&act_.up, inner},
      {&act_.expert_in, pairs * hidden},
      {&act_.expert_out, pairs * hidden},
      {&codes_, codes},
      {&logit_rows_, max_logit_rows() * hidden},
  };
  constexpr int64_t kLine = 16;  // floats of a cache line
  int64_t total = 0;
  for (const Request& r : requests) total += (r.floats + kLine - 1) / kLine * kLine;
  memory_ = AlignedBuffer(static_cast<size_t>(total) * sizeof(float));
  float* next = memory_.as<float>();
  for (const Request& r : requests) {
    *r.to = next;
    next += (r.floats + kLine - 1) / kLine * kLine;
  }

  expert_of_pair_.resize(pairs);
  score_of_pair_.resize(pairs);
  place_of_pair_.resize(pairs);
  expert_begin_.resize(config_.num_experts + 1);
}

}  // namespace outrider::cpu

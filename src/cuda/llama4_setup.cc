// Construction of Llama4: shape checks, buffers.
#include <algorithm>
#include <string>

#include "base/error.h"
#include "cuda/attention_few.h"
#include "cuda/llama4.h"
#include "model/rope_frequencies.h"

namespace outrider::cuda {
namespace {

int sm_count() {
  int device = 0, count = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
  return count;
}

AttentionShape shape_of(const model::LlamaConfig& config, model::KvDtype dtype) {
  return {config.num_heads, config.num_kv_heads, config.head_dim, dtype};
}

AttentionShape checked_shape(const model::LlamaConfig& config, const model::KvGeometry& geometry) {
  Llama4::check_shapes(config, geometry);
  return shape_of(config, geometry.dtype);
}

// Where each buffer begins. What attention and what the MLP needs for itself share memory.
struct Buffers {
  int64_t residual, normed, update, expert_out, attention_in, shared_in, expert_in;
  int64_t choices, rank_of_pair, place_of_pair, score_of_pair, count_of_expert, expert_begin;
  int64_t logit_in, split_totals, few_in, few_out;
  int64_t qkv, q, context_in, partials;                // attention
  int64_t shared_act, expert_act, dense_act, few_act;  // MLP
  int64_t bytes;

  Buffers(const model::LlamaConfig& c, const Limits& limits, model::KvDtype dtype) {
    const int64_t rows = limits.max_rows, pairs = rows * c.num_experts_per_token, hidden = c.hidden_size;
    constexpr int64_t kBf16 = 2;
    residual = take(kBf16 * rows * hidden);
    normed = take(kBf16 * rows * hidden);
    update = take(kBf16 * rows * hidden);
    expert_out = take(kBf16 * pairs * hidden);
    attention_in = shared_in = take(kBf16 * rows * hidden);
    expert_in = take(kBf16 * pairs * hidden);
    choices = take(4 * pairs * c.num_layers);
    rank_of_pair = take(4 * pairs);
    place_of_pair = take(4 * pairs);
    score_of_pair = take(4 * pairs);
    count_of_expert = take(4 * int64_t{c.num_experts} + 4);
    expert_begin = take(4 * int64_t{c.num_experts} + 8);
    logit_in = take(kBf16 * limits.max_logit_rows * hidden);
    split_totals = take(static_cast<int64_t>(SplitTotals::bytes()));
    few_in = take(kBf16 * 2 * kFewTokens * hidden);
    few_out = take(kBf16 * 2 * kFewTokens * hidden);

    const int64_t begin = next_;
    qkv = take(kBf16 * rows * (c.q_size() + 2 * c.kv_size()));
    q = take(kBf16 * rows * c.q_size());
    context_in = take(kBf16 * rows * c.q_size());
    partials = take(attention_workspace_bytes(
        shape_of(c, dtype), max_attention_partials(limits.max_num_seqs, limits.max_model_len)));
    const int64_t attention_end = next_;
    next_ = begin;
    shared_act = dense_act = take(kBf16 * rows * std::max(c.intermediate_size, c.intermediate_size_mlp));
    expert_act = take(kBf16 * pairs * c.intermediate_size);
    few_act = take(kBf16 * 2 * kFewTokens * c.intermediate_size);
    bytes = std::max(attention_end, next_);
  }

 private:
  int64_t take(int64_t n) {
    constexpr int64_t kAlignment = 1024;
    const int64_t at = next_;
    next_ = (next_ + n + kAlignment - 1) / kAlignment * kAlignment;
    return at;
  }
  int64_t next_ = 0;
};

}  // namespace

Llama4::Llama4(std::shared_ptr<const model::Model> model, const model::KvGeometry& geometry,
               const Limits& limits)
    : model_(std::move(model)),
      config_(model_->config),
      geometry_(geometry),
      limits_(limits),
      num_sms_(sm_count()),
      attention_shape_(checked_shape(config_, geometry)),
      max_partials_(max_attention_partials(limits.max_num_seqs, limits.max_model_len)),
      attention_(attention_shape_, num_sms_) {
  prepare_gemm();
  prepare_attend_few();
  weights_ = upload(*model_);
  cache_ = DeviceBuffer(static_cast<size_t>(geometry_.page_bytes(config_) * geometry_.num_blocks));
  allocate();
  const std::vector<float> frequencies = model::rope_frequencies(config_);
  rope_frequencies_ = DeviceBuffer(frequencies.size() * sizeof(float));
  check(cudaMemcpy(rope_frequencies_.as<float>(), frequencies.data(), rope_frequencies_.bytes(),
                   cudaMemcpyHostToDevice),
        "copy of RoPE frequencies");
}

void Llama4::check_shapes(const model::LlamaConfig& config, const model::KvGeometry& geometry) {
  const auto refuse = [](const std::string& what) {
    throw StartupError("the CUDA runner " + what + "; use --device cpu");
  };
  if (config.hidden_size > kMaxRow) {
    refuse("takes a hidden_size up to " + std::to_string(kMaxRow) + "; it is " +
           std::to_string(config.hidden_size));
  }
  if (config.num_experts > kMaxGroups) {
    refuse("takes up to " + std::to_string(kMaxGroups) + " experts; there are " +
           std::to_string(config.num_experts));
  }
  const int group = config.num_kv_heads > 0 ? config.num_heads / config.num_kv_heads : 0;
  if ((config.head_dim != 64 && config.head_dim != 128) || group < 1 || group > kMaxHeadGroup ||
      config.num_heads % config.num_kv_heads != 0) {
    refuse("takes a head_dim of 64 or 128 and up to " + std::to_string(kMaxHeadGroup) +
           " query heads a KV head; the model has " + std::to_string(config.num_heads) + " heads of " +
           std::to_string(config.head_dim) + " over " + std::to_string(config.num_kv_heads));
  }
  if (geometry.block_size != kPagePositions) {
    refuse("takes --block-size " + std::to_string(kPagePositions) + " alone");
  }
  if (geometry.dtype == model::KvDtype::kF32) refuse("has no fp32 KV cache");
}

std::vector<model::PlanRow> Llama4::working_memory(const model::LlamaConfig& config, const Limits& limits,
                                                   model::KvDtype dtype) {
  return {{"activations", Buffers(config, limits, dtype).bytes}};
}

Llama4::Input Llama4::make_input(int64_t offset, int64_t rows, int k) const {
  Input input;
  if (k == 0) return input;  // a model without such layers
  input.data = memory_.as<uint8_t>() + offset;
  input.fp8 = make_gemm_input(ElementType::kFp8, input.data, rows, k);
  input.bf16 = make_gemm_input(ElementType::kBf16, input.data, rows, k);
  return input;
}

void Llama4::allocate() {
  const Buffers at(config_, limits_, geometry_.dtype);
  memory_ = DeviceBuffer(static_cast<size_t>(at.bytes));
  auto* base = memory_.as<uint8_t>();
  residual_ = base + at.residual;
  normed_ = base + at.normed;
  update_ = base + at.update;
  expert_out_ = base + at.expert_out;
  qkv_ = base + at.qkv;
  q_ = base + at.q;
  few_out_ = base + at.few_out;
  partials_ = reinterpret_cast<float*>(base + at.partials);
  split_totals_ = SplitTotals::in(base + at.split_totals);
  choices_ = reinterpret_cast<int32_t*>(base + at.choices);
  const ExpertChoices choices = expert_choices();
  check(cudaMemset(choices_, 0xFF, sizeof(int32_t) * choices.layers * choices.layer_stride), "cudaMemset");
  rank_of_pair_ = reinterpret_cast<int32_t*>(base + at.rank_of_pair);
  place_of_pair_ = reinterpret_cast<int32_t*>(base + at.place_of_pair);
  score_of_pair_ = reinterpret_cast<float*>(base + at.score_of_pair);
  count_of_expert_ = reinterpret_cast<int32_t*>(base + at.count_of_expert);
  expert_begin_ = reinterpret_cast<int32_t*>(base + at.expert_begin);
  check(cudaMemset(expert_begin_, 0, sizeof(int32_t)), "cudaMemset");

  const int64_t rows = limits_.max_rows, pairs = rows * config_.num_experts_per_token;
  attention_in_ = make_input(at.attention_in, rows, config_.hidden_size);
  context_in_ = make_input(at.context_in, rows, config_.q_size());
  shared_in_ = make_input(at.shared_in, rows, config_.hidden_size);
  expert_in_ = make_input(at.expert_in, pairs, config_.hidden_size);
  shared_act_ = make_input(at.shared_act, rows, config_.intermediate_size);
  expert_act_ = make_input(at.expert_act, pairs, config_.intermediate_size);
  dense_act_ = make_input(at.dense_act, rows, config_.intermediate_size_mlp);
  few_in_ = make_input(at.few_in, 2 * kFewTokens, config_.hidden_size);
  few_act_ = make_input(at.few_act, 2 * kFewTokens, config_.intermediate_size);
  mixed_in_ = make_input(at.shared_in, rows + pairs, config_.hidden_size);
  mixed_act_ = make_input(at.shared_act, rows + pairs, config_.intermediate_size);
  logit_in_ = make_input(at.logit_in, limits_.max_logit_rows, config_.hidden_size);
}

}  // namespace outrider::cuda

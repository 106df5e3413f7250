#include "cuda/llama4.h"

#include "cuda/qkv_finish.h"

namespace outrider::cuda {

void Llama4::forward(const Step& step, cudaStream_t stream) {
  rows_ = step.batch.num_rows;
  stream_ = stream;
  embed(step);
  for (int l = 0; l < config_.num_layers; ++l) layer(step, l);
}

void Llama4::embed(const Step& step) {
  cuda::embed(step.batch, weights_.embed, step.last_token, config_.vocab_size, config_.hidden_size, residual_,
              stream_);
  pending_update_ = pending_experts_ = nullptr;
}

void Llama4::layer(const Step& step, int l) {
  attention(step, l);
  if (config_.is_moe_layer[l]) {
    moe(step, l);
  } else {
    dense_mlp(step, l);
  }
}

// residual += what is pending; out = norm(residual), as the next product wants it.
AddNorm Llama4::add_norm_call(const void* weight, const Input& out, const DeviceLinear& next) const {
  AddNorm call;
  call.rows = rows_;
  call.hidden = config_.hidden_size;
  call.residual = residual_;
  call.update = pending_update_;
  call.expert_out = pending_experts_;
  call.place_of_pair = place_of_pair_;
  call.experts_per_token = config_.num_experts_per_token;
  call.weight = weight;
  call.eps = config_.rms_norm_eps;
  call.out = {next.w.type, out.data, next.input_scale};
  return call;
}

void Llama4::attention(const Step& step, int l) {
  const DeviceLayer& w = weights_.layers[l];
  AddNorm norm = add_norm_call(w.input_norm, attention_in_, w.qkv);
  norm.clear = count_of_expert_;
  norm.clear_count = config_.num_experts;
  add_norm(norm, stream_);
  linear(w.qkv, attention_in_, qkv_, step.row_range, rows_);

  const int group = geometry_.group_of_layer[l];
  QkvFinish finish;
  finish.batch = step.batch;
  finish.qkv = qkv_;
  finish.q = q_;
  finish.cache = cache_of_layer(l);
  finish.page_group = group;
  finish.heads = config_.num_heads;
  finish.rope_frequencies = config_.is_rope_layer[l] ? rope_frequencies_.as<float>() : nullptr;
  finish.use_qk_norm = config_.use_qk_norm;
  finish.qk_norm_eps = config_.rms_norm_eps;
  finish.attn_scale = config_.attn_temperature_tuning ? config_.attn_scale : 0.0f;
  finish.floor_scale = config_.floor_scale;
  qkv_finish(finish, stream_);

  AttentionCall call;
  call.cache = finish.cache;
  call.q = q_;
  call.out = context_;
  call.pages = step.batch.pages + int64_t{group} * step.batch.blocks_per_row;
  call.page_stride = step.batch.num_groups * step.batch.blocks_per_row;
  call.lists = config_.is_chunked_layer(l) ? step.chunked : step.full;
  call.partials = partials_;
  attention_(call, stream_);

  quantize(rows_, config_.q_size(), context_, {w.o.w.type, context_in_.data, w.o.input_scale}, stream_);
  linear(w.o, context_in_, update_, step.row_range, rows_);
  pending_update_ = update_;
  pending_experts_ = nullptr;
}

// update = shared_expert(h); expert_out = expert(h * score) of each row's chosen experts
void Llama4::moe(const Step& step, int l) {
  const DeviceLayer& w = weights_.layers[l];
  const int top_k = config_.num_experts_per_token, pairs = rows_ * top_k;
  AddNormRoute route;
  route.norm = add_norm_call(w.post_attention_norm, shared_in_, w.shared_expert.gate_up);
  route.router = w.router;
  route.experts = config_.num_experts;
  route.normed = normed_;
  route.expert_of_pair = expert_of_pair_;
  route.rank_of_pair = rank_of_pair_;
  route.count_of_expert = count_of_expert_;
  route.score_of_pair = score_of_pair_;
  add_norm_route(route, stream_);

  const DeviceLinear& gate_up = w.experts.gate_up;
  dispatch({rows_,
            config_.hidden_size,
            config_.num_experts,
            top_k,
            normed_,
            expert_of_pair_,
            rank_of_pair_,
            count_of_expert_,
            score_of_pair_,
            gate_up.input_scale_of_group,
            place_of_pair_,
            expert_begin_,
            {gate_up.w.type, expert_in_.data, 1.0f}},
           stream_);

  const int expected = (2 * pairs + config_.num_experts - 1) / config_.num_experts;  // twice an even share
  linear(w.shared_expert.gate_up, shared_in_, gate_up_, step.row_range, rows_);
  linear(gate_up, expert_in_, expert_gate_up_, expert_begin_, expected);

  silu(w.shared_expert, gate_up_, shared_act_, rows_, step.row_range);
  silu(w.experts, expert_gate_up_, expert_act_, pairs, expert_begin_);

  linear(w.shared_expert.down, shared_act_, update_, step.row_range, rows_);
  linear(w.experts.down, expert_act_, expert_out_, expert_begin_, expected);
  pending_update_ = update_;
  pending_experts_ = expert_out_;
}

void Llama4::dense_mlp(const Step& step, int l) {
  const DeviceLayer& w = weights_.layers[l];
  add_norm(add_norm_call(w.post_attention_norm, shared_in_, w.dense.gate_up), stream_);
  linear(w.dense.gate_up, shared_in_, gate_up_, step.row_range, rows_);
  silu(w.dense, gate_up_, dense_act_, rows_, step.row_range);
  linear(w.dense.down, dense_act_, update_, step.row_range, rows_);
  pending_update_ = update_;
  pending_experts_ = nullptr;
}

void Llama4::logits(const int32_t* row_index, int count, float* out, cudaStream_t stream) {
  stream_ = stream;
  AddNorm norm = add_norm_call(weights_.final_norm, logit_in_, weights_.lm_head);
  norm.rows = count;
  norm.row_index = row_index;
  add_norm(norm, stream);
  gemm({&weights_.lm_head.w, &logit_in_.bf16, out, OutputType::kF32, nullptr, count, split_totals_}, num_sms_,
       stream);
}

void Llama4::linear(const DeviceLinear& linear, const Input& x, void* y, const int32_t* range,
                    int rows_a_group) const {
  const GemmInput* input = linear.w.type == ElementType::kFp8 ? &x.fp8 : &x.bf16;
  gemm({&linear.w, input, y, OutputType::kBf16, range, rows_a_group, split_totals_}, num_sms_, stream_);
}

void Llama4::silu(const DeviceMlp& mlp, const void* gate_up, const Input& out, int rows,
                  const int32_t* range) const {
  silu_mul({rows,
            mlp.down.w.k,
            mlp.down.w.groups,
            gate_up,
            range,
            mlp.down.input_scale_of_group,
            {mlp.down.w.type, out.data, mlp.down.input_scale}},
           stream_);
}

KvLayer Llama4::cache_of_layer(int l) const {
  const DeviceLayer& w = weights_.layers[l];
  const bool fp8 = geometry_.dtype == model::KvDtype::kFp8E4m3;
  KvLayer cache;
  cache.page_stride = geometry_.page_bytes(config_);
  cache.head_bytes = int64_t{2} * kPagePositions * config_.head_dim * bytes_of(geometry_.dtype);
  cache.kv_heads = config_.num_kv_heads;
  cache.head_dim = config_.head_dim;
  cache.dtype = geometry_.dtype;
  cache.base = cache_.as<uint8_t>() + geometry_.index_in_group[l] * cache.head_bytes * cache.kv_heads;
  cache.k_scale = fp8 ? w.k_scale : 1.0f;
  cache.v_scale = fp8 ? w.v_scale : 1.0f;
  return cache;
}

}  // namespace outrider::cuda

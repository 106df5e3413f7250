#include "cuda/llama4.h"

#include "cuda/attention_few.h"
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
  call.place_of_pair = pending_places_;
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
  gemm(product(w.qkv, attention_in_, qkv_, step.row_range, rows_), num_sms_, stream_);

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

  AttentionCall call;
  call.cache = finish.cache;
  call.q = q_;
  call.out = {w.o.w.type, context_in_.data, w.o.input_scale};
  call.pages = step.batch.pages + int64_t{group} * step.batch.blocks_per_row;
  call.page_stride = step.batch.num_groups * step.batch.blocks_per_row;
  call.lists = config_.is_chunked_layer(l) ? step.chunked : step.full;
  call.partials = partials_;
  // What reads the cache before its own wait comes behind a narrow product.
  if (takes_few_rows(attention_shape_, rows_, call.lists, num_sms_)) {
    attend_few(finish, call, stream_);
  } else if (call.lists.finishes && is_narrow(1, rows_)) {
    attention_.decode(finish, call, stream_);
  } else {
    qkv_finish(finish, stream_);
    attention_(call, stream_);
  }

  gemm(product(w.o, context_in_, update_, step.row_range, rows_), num_sms_, stream_);
  pending_update_ = update_;
  pending_experts_ = nullptr;
}

// update = shared_expert(h); expert_out = expert(h * score) of each row's chosen experts
void Llama4::moe(const Step& step, int l) {
  const DeviceLayer& w = weights_.layers[l];
  expert_of_pair_ = choices_ + int64_t{l} * limits_.max_rows * config_.num_experts_per_token;
  const bool few = w.all_experts.gate_up.w.groups > 0 && rows_ * config_.num_experts_per_token <= kFewTokens;
  AddNormRoute route;
  route.norm = add_norm_call(w.post_attention_norm, few ? few_in_ : shared_in_, w.shared_expert.gate_up);
  route.router = w.router;
  route.experts = config_.num_experts;
  route.normed = normed_;
  route.expert_of_pair = expert_of_pair_;
  route.rank_of_pair = rank_of_pair_;
  route.count_of_expert = count_of_expert_;
  route.score_of_pair = score_of_pair_;
  if (few) {
    few_experts(route, w, step);
  } else {
    many_experts(route, w, step);
  }
}

// The shared expert and the others as one product; what belongs to pairs lies kFewTokens rows behind the
// rest.
void Llama4::few_experts(const AddNormRoute& route, const DeviceLayer& w, const Step& step) {
  const DeviceLinear &gate_up = w.all_experts.gate_up, &down = w.all_experts.down;
  const int64_t pair_bytes =
      int64_t{kFewTokens} * config_.hidden_size * (gate_up.w.type == ElementType::kFp8 ? 1 : 2);
  add_norm_route_few(route,
                     {{gate_up.w.type, static_cast<uint8_t*>(few_in_.data) + pair_bytes, 1.0f},
                      w.experts.gate_up.input_scale_of_group},
                     stream_);
  const int pairs = rows_ * config_.num_experts_per_token;
  GemmCall call = product(gate_up, few_in_, nullptr, step.row_range, pairs);
  call.few = {expert_of_pair_, config_.num_experts_per_token};
  gemm(gated(call, few_act_, down), num_sms_, stream_);
  call = product(down, few_act_, few_out_, step.row_range, pairs);
  call.few = {expert_of_pair_, config_.num_experts_per_token};
  call.groups_known = true;
  gemm(call, num_sms_, stream_);
  pending_update_ = few_out_;
  pending_experts_ = static_cast<uint8_t*>(few_out_) + int64_t{2} * kFewTokens * config_.hidden_size;
  pending_places_ = nullptr;
}

void Llama4::many_experts(const AddNormRoute& route, const DeviceLayer& w, const Step& step) {
  const DeviceLinear& gate_up = w.experts.gate_up;
  const int top_k = config_.num_experts_per_token;
  const bool mixed = w.all_experts.gate_up.w.groups > 0;
  add_norm_route(route, stream_);
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
            expert_begin_ + 1,
            {gate_up.w.type, mixed ? mixed_in_.data : expert_in_.data, 1.0f},
            mixed ? rows_ : 0},
           stream_);
  if (mixed) return mixed_experts(w);

  // Twice an even share.
  const int expected = (2 * rows_ * top_k + config_.num_experts - 1) / config_.num_experts;
  const auto experts = [&](GemmCall call) {
    call.groups_known = is_narrow(1, rows_);  // the shared expert's product came between
    return call;
  };
  gemm(gated(product(w.shared_expert.gate_up, shared_in_, nullptr, step.row_range, rows_), shared_act_,
             w.shared_expert.down),
       num_sms_, stream_);
  gemm(experts(gated(product(gate_up, expert_in_, nullptr, expert_begin_ + 1, expected), expert_act_,
                     w.experts.down)),
       num_sms_, stream_);
  gemm(product(w.shared_expert.down, shared_act_, update_, step.row_range, rows_), num_sms_, stream_);
  gemm(experts(product(w.experts.down, expert_act_, expert_out_, expert_begin_ + 1, expected)), num_sms_,
       stream_);
  pending_update_ = update_;
  pending_experts_ = expert_out_;
  pending_places_ = place_of_pair_;
}

// The shared expert's rows and behind them the pairs, expert by expert, as one product: caches and tensor
// cores work on the one while weights of the others come from memory.
void Llama4::mixed_experts(const DeviceLayer& w) {
  const DeviceLinear &gate_up = w.all_experts.gate_up, &down = w.all_experts.down;
  GemmCall call = product(gate_up, mixed_in_, nullptr, expert_begin_, rows_);
  call.first_takes_all = true;
  gemm(gated(call, mixed_act_, down), num_sms_, stream_);
  call = product(down, mixed_act_, update_, expert_begin_, rows_);
  call.first_takes_all = true;
  call.groups_known = true;
  gemm(call, num_sms_, stream_);
  pending_update_ = pending_experts_ = update_;
  pending_places_ = place_of_pair_;
}

void Llama4::dense_mlp(const Step& step, int l) {
  const DeviceLayer& w = weights_.layers[l];
  add_norm(add_norm_call(w.post_attention_norm, shared_in_, w.dense.gate_up), stream_);
  gemm(gated(product(w.dense.gate_up, shared_in_, nullptr, step.row_range, rows_), dense_act_, w.dense.down),
       num_sms_, stream_);
  gemm(product(w.dense.down, dense_act_, update_, step.row_range, rows_), num_sms_, stream_);
  pending_update_ = update_;
  pending_experts_ = nullptr;
}

void Llama4::logits(const int32_t* row_index, int count, float* out, cudaStream_t stream) {
  stream_ = stream;
  AddNorm norm = add_norm_call(weights_.final_norm, logit_in_, weights_.lm_head);
  norm.rows = count;
  norm.row_index = row_index;
  add_norm(norm, stream);
  GemmCall call = product(weights_.lm_head, logit_in_, out, nullptr, count);
  call.output = OutputType::kF32;
  gemm(call, num_sms_, stream);
}

GemmCall Llama4::product(const DeviceLinear& linear, const Input& x, void* y, const int32_t* range,
                         int rows_a_group) const {
  GemmCall call;
  call.w = &linear.w;
  call.x = linear.w.type == ElementType::kFp8 ? &x.fp8 : &x.bf16;
  call.y = y;
  call.token_begin = range;
  call.tokens_a_group = rows_a_group;
  call.split = split_totals_;
  return call;
}

// The product of a gated matrix, as the input of `next`.
GemmCall Llama4::gated(GemmCall call, const Input& out, const DeviceLinear& next) const {
  call.y = out.data;
  call.output = next.w.type == ElementType::kFp8 ? OutputType::kFp8 : OutputType::kBf16;
  call.divisor = next.input_scale;
  call.divisor_of_group = next.input_scale_of_group;
  return call;
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

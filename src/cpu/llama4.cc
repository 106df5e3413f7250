#include "cpu/llama4.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "cpu/number_formats.h"
#include "cpu/quantize.h"
#include "cpu/rms_norm.h"
#include "cpu/rope.h"
#include "cpu/silu.h"

namespace outrider::cpu {
namespace {

constexpr int64_t kParallelFloats = 1 << 14;  // elementwise work worth sharing

void add(const float* x, int n, float* y) {
  for (int i = 0; i < n; ++i) y[i] += x[i];
}

}  // namespace

template <typename Fn>
void Llama4::for_rows(int64_t rows, int64_t floats_per_row, const Fn& fn) {
  pool_.run_if(rows * floats_per_row > kParallelFloats, rows, [&](int64_t row, int) { fn(row); });
}

void Llama4::forward(const Batch& batch) {
  begin(batch);
  embed();
  for (int l = 0; l < config_.num_layers; ++l) layer(l);
}

void Llama4::begin(const Batch& batch) {
  batch_ = &batch;
  rows_ = static_cast<int>(batch.tokens.size());
  rope_angles_.resize(static_cast<size_t>(rows_) * config_.head_dim);
  temperatures_.resize(rows_);
  sequence_of_row_.resize(rows_);
  full_items_.clear();
  chunked_items_.clear();
  for (int s = 0; s < static_cast<int>(batch.sequences.size()); ++s) {
    const auto& [first_row, num_tokens, first_position] = batch.sequences[s];
    add_attention_items(s, first_row, first_position, num_tokens, 0, full_items_);
    add_attention_items(s, first_row, first_position, num_tokens, config_.attention_chunk_size,
                        chunked_items_);
    std::fill_n(sequence_of_row_.begin() + first_row, num_tokens, s);
  }
  for_rows(rows_, int64_t{config_.head_dim} * 16, [&](int64_t row) {
    rope_angles(rope_frequencies_, batch.positions[row], &rope_angles_[row * config_.head_dim]);
    temperatures_[row] = attention_temperature(config_, batch.positions[row]);
  });
}

void Llama4::embed() {
  const model::Matrix& table = model_->weights.embed;
  const int n = config_.hidden_size;
  for_rows(rows_, n, [&](int64_t row) {
    const auto* from = static_cast<const uint16_t*>(table.data) + batch_->tokens[row] * table.stride;
    for (int i = 0; i < n; ++i) act_.residual[row * n + i] = bf16_to_float(from[i]);
  });
}

void Llama4::layer(int l) {
  const model::Layer& weights = model_->weights.layers[l];
  add_and_norm(nullptr, weights.input_norm, act_.normed);
  attention(l);
  add_and_norm(act_.update, weights.post_attention_norm, act_.normed);
  if (config_.is_moe_layer[l]) {
    moe(l);
  } else {
    dense_mlp(l);
  }
  add_and_norm(act_.update, nullptr, nullptr);
}

// residual += update; out = norm(residual). Either may be left out.
void Llama4::add_and_norm(const float* update, const uint16_t* weight, float* out) {
  const int n = config_.hidden_size;
  for_rows(rows_, n, [&](int64_t row) {
    float* x = act_.residual + row * n;
    if (update) add(update + row * n, n, x);
    if (weight) rms_norm(x, weight, n, config_.rms_norm_eps, out + row * n);
  });
}

void Llama4::attention(int l) {
  const PackedLayer& w = layers_[l];
  linear(std::array{Linear{&w.q, act_.normed, act_.q, rows_}, Linear{&w.k, act_.normed, act_.k, rows_},
                    Linear{&w.v, act_.normed, act_.v, rows_}});
  position_and_store(l);

  AttentionCall call;
  call.cache = &cache_;
  call.layer = l;
  call.scales = w.kv_scales;
  call.q = act_.q;
  call.out = act_.context;
  call.pages = batch_->pages + int64_t{cache_.geometry().group_of_layer[l]} * batch_->blocks_per_row;
  call.page_stride = int64_t{cache_.geometry().num_groups()} * batch_->blocks_per_row;
  attention_(call, config_.is_chunked_layer(l) ? chunked_items_ : full_items_);

  linear(std::array{Linear{&w.o, act_.context, act_.update, rows_}});
}

// RoPE layers: q, k = norm(rotate(q)), norm(rotate(k)). NoPE layers: q *= temperature. Then K and V go to the
// cache.
void Llama4::position_and_store(int l) {
  const model::KvGeometry& geometry = cache_.geometry();
  const int64_t group = geometry.group_of_layer[l];
  for_rows(rows_, config_.q_size() + 2 * config_.kv_size(), [&](int64_t row) {
    float* q = act_.q + row * config_.q_size();
    float* k = act_.k + row * config_.kv_size();
    if (config_.is_rope_layer[l]) {
      const float* angles = &rope_angles_[row * config_.head_dim];
      rope_rotate(angles, config_.num_heads, config_.head_dim, q);
      rope_rotate(angles, config_.num_kv_heads, config_.head_dim, k);
      if (config_.use_qk_norm) {
        qk_norm(config_.num_heads, config_.head_dim, config_.rms_norm_eps, q);
        qk_norm(config_.num_kv_heads, config_.head_dim, config_.rms_norm_eps, k);
      }
    } else {
      for (int i = 0; i < config_.q_size(); ++i) q[i] *= temperatures_[row];
    }
    const int position = batch_->positions[row];
    const int32_t* pages =
        batch_->pages + (sequence_of_row_[row] * geometry.num_groups() + group) * batch_->blocks_per_row;
    cache_.store(pages[position / geometry.block_size], position % geometry.block_size, l,
                 layers_[l].kv_scales, k, act_.v + row * config_.kv_size());
  });
}

// update = shared_expert(h) + sum over chosen experts of expert(h * score)
void Llama4::moe(int l) {
  const PackedLayer& w = layers_[l];
  const int hidden = config_.hidden_size, inner = config_.intermediate_size,
            top_k = config_.num_experts_per_token;
  route(l);
  for_rows(int64_t{rows_} * top_k, hidden, [&](int64_t pair) {
    const float* h = act_.normed + pair / top_k * hidden;
    float* x = act_.expert_in + int64_t{place_of_pair_[pair]} * hidden;
    for (int i = 0; i < hidden; ++i) x[i] = h[i] * score_of_pair_[pair];
  });

  float* expert_gate = act_.gate + int64_t{rows_} * inner;
  float* expert_up = act_.up + int64_t{rows_} * inner;
  products_ = {{&w.shared_expert.gate, act_.normed, act_.gate, rows_},
               {&w.shared_expert.up, act_.normed, act_.up, rows_}};
  for (int e = 0; e < config_.num_experts; ++e) {
    const int64_t begin = expert_begin_[e];
    const int m = expert_begin_[e + 1] - expert_begin_[e];
    if (m == 0) continue;
    const float* x = act_.expert_in + begin * hidden;
    products_.push_back({&w.experts[e].gate, x, expert_gate + begin * inner, m});
    products_.push_back({&w.experts[e].up, x, expert_up + begin * inner, m});
  }
  linear(products_);

  for_rows(int64_t{rows_} * (1 + top_k), int64_t{inner} * 8, [&](int64_t row) {
    silu_mul(act_.gate + row * inner, act_.up + row * inner, inner, act_.gate + row * inner);
  });

  products_ = {{&w.shared_expert.down, act_.gate, act_.update, rows_}};
  for (int e = 0; e < config_.num_experts; ++e) {
    const int64_t begin = expert_begin_[e];
    const int m = expert_begin_[e + 1] - expert_begin_[e];
    if (m == 0) continue;
    products_.push_back(
        {&w.experts[e].down, expert_gate + begin * inner, act_.expert_out + begin * hidden, m});
  }
  linear(products_);

  for_rows(rows_, int64_t{hidden} * top_k, [&](int64_t row) {
    for (int rank = 0; rank < top_k; ++rank) {
      add(act_.expert_out + int64_t{place_of_pair_[row * top_k + rank]} * hidden, hidden,
          act_.update + row * hidden);
    }
  });
}

// Each row's best experts (lowest index on ties) and the sigmoid of their logits.
void Llama4::route(int l) {
  const int experts = config_.num_experts, top_k = config_.num_experts_per_token;
  linear(std::array{Linear{&layers_[l].router, act_.normed, act_.router_logits, rows_}});
  for (int64_t row = 0; row < rows_; ++row) {
    const float* logits = act_.router_logits + row * experts;
    int32_t* chosen = &expert_of_pair_[row * top_k];
    for (int rank = 0; rank < top_k; ++rank) {
      int best = -1;
      for (int e = 0; e < experts; ++e) {
        const bool taken = std::find(chosen, chosen + rank, e) != chosen + rank;
        if (!taken && (best < 0 || logits[e] > logits[best])) best = e;
      }
      chosen[rank] = best;
      score_of_pair_[row * top_k + rank] = 1.0f / (1.0f + std::exp(-logits[best]));
    }
  }
  sort_by_expert();
}

// Counting sort, stable: rows of one expert become neighbours.
void Llama4::sort_by_expert() {
  const int pairs = rows_ * config_.num_experts_per_token;
  std::fill(expert_begin_.begin(), expert_begin_.end(), 0);
  for (int p = 0; p < pairs; ++p) ++expert_begin_[expert_of_pair_[p] + 1];
  std::partial_sum(expert_begin_.begin(), expert_begin_.end(), expert_begin_.begin());
  for (int p = 0; p < pairs; ++p) place_of_pair_[p] = expert_begin_[expert_of_pair_[p]]++;
  std::rotate(expert_begin_.begin(), expert_begin_.end() - 1, expert_begin_.end());
  expert_begin_[0] = 0;
}

void Llama4::dense_mlp(int l) {
  const PackedMlp& w = layers_[l].dense;
  const int inner = config_.intermediate_size_mlp;
  linear(
      std::array{Linear{&w.gate, act_.normed, act_.gate, rows_}, Linear{&w.up, act_.normed, act_.up, rows_}});
  for_rows(rows_, int64_t{inner} * 8, [&](int64_t row) {
    silu_mul(act_.gate + row * inner, act_.up + row * inner, inner, act_.gate + row * inner);
  });
  linear(std::array{Linear{&w.down, act_.gate, act_.update, rows_}});
}

void Llama4::logits(std::span<const int32_t> rows, float* out) {
  const int n = config_.hidden_size;
  for_rows(static_cast<int64_t>(rows.size()), n, [&](int64_t i) {
    rms_norm(act_.residual + int64_t{rows[i]} * n, model_->weights.final_norm, n, config_.rms_norm_eps,
             logit_rows_ + i * n);
  });
  linear(std::array{Linear{&lm_head_, logit_rows_, out, static_cast<int>(rows.size())}});
}

// The first use of a matrix packs its panels one by one and keeps none: a first token need not wait for
// memory to be written. From the second on, packed weights stay. jobs_ are those of the products.
void Llama4::pack_needed(std::span<const Linear> products) {
  if (packer_.complete()) return;
  unpacked_.clear();
  for (size_t i = 0; i < products.size(); ++i) {
    const Linear& product = products[i];
    if (packer_.packed(*product.w)) continue;
    if (product.m <= kMatmulRows) jobs_[i].source = packer_.unused_source(*product.w);
    if (!jobs_[i].source) unpacked_.push_back(product.w->index);
  }
  packer_.pack(unpacked_, pool_);
}

void Llama4::linear(std::span<const Linear> products) {
  jobs_.clear();
  float* free_codes = codes_;
  const Linear* previous = nullptr;
  for (const Linear& product : products) {
    MatmulJob job{product.w, product.x, product.y, product.m, product.w->weight_scale};
    if (quantization_ == ActivationQuantization::kCheckpoint && product.w->input_scale > 0.0f) {
      // Products of the same x mostly share their input scale: round once.
      const bool same = previous && previous->x == product.x &&
                        previous->w->input_scale == product.w->input_scale &&
                        previous->w->format == product.w->format;
      job.x = same ? jobs_.back().x : quantized(product, &free_codes);
      job.scale *= product.w->input_scale;
    }
    previous = &product;
    jobs_.push_back(job);
  }
  pack_needed(products);
  matmul_(jobs_);
}

const float* Llama4::quantized(const Linear& product, float** free_codes) {
  const int n = product.w->cols;
  float* codes = *free_codes;
  *free_codes += int64_t{product.m} * n;
  const auto round = product.w->format == model::WeightFormat::kFp8 ? quantize_fp8 : quantize_nvfp4;
  for_rows(product.m, n,
           [&](int64_t row) { round(product.x + row * n, n, product.w->input_scale, codes + row * n); });
  return codes;
}

}  // namespace outrider::cpu

// Llama 4's text configuration, as read from config.json (old and new spellings).
// Source of the fields' meaning: transformers, models/llama4/configuration_llama4.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace outrider::model {

// llama3 frequency scaling; factor 1 means unscaled.
struct RopeScaling {
  float factor = 1.0f;
  float low_freq_factor = 1.0f;
  float high_freq_factor = 1.0f;
  int64_t original_max_position_embeddings = 8192;
};

struct LlamaConfig {
  int hidden_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int intermediate_size = 0;      // each routed expert and the shared expert
  int intermediate_size_mlp = 0;  // dense layers
  int num_experts = 0;
  int num_experts_per_token = 1;
  int vocab_size = 0;
  int64_t max_position_embeddings = 0;
  int attention_chunk_size = 0;  // 0: RoPE layers are not chunked
  float rms_norm_eps = 1e-5f;
  bool use_qk_norm = true;
  bool attn_temperature_tuning = true;
  float floor_scale = 8192.0f;
  float attn_scale = 0.1f;
  float rope_theta = 500000.0f;
  RopeScaling rope_scaling;
  std::vector<bool> is_moe_layer;   // [num_layers]
  std::vector<bool> is_rope_layer;  // [num_layers]; false: NoPE, full attention, temperature
  int bos_token_id = -1;
  int pad_token_id = -1;
  std::vector<int> eos_token_ids;
  bool multimodal = false;  // checkpoint wraps the text model as language_model.*

  int q_size() const { return num_heads * head_dim; }
  int kv_size() const { return num_kv_heads * head_dim; }
  bool is_chunked_layer(int layer) const { return attention_chunk_size > 0 && is_rope_layer[layer]; }
};

// Defaults for requests, from generation_config.json. Absent: no opinion.
struct GenerationDefaults {
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k, max_new_tokens;
  std::vector<int> eos_token_ids;
};

// `json` is the text of config.json; `origin` names the file in errors. Throws CheckpointError naming the
// field.
LlamaConfig parse_config(const std::string& json, const std::string& origin);

// Throws CheckpointError; an empty text gives no defaults.
GenerationDefaults parse_generation_config(const std::string& json, const std::string& origin);

// config.json with the JSON object of --hf-overrides merged into it, objects key by key; null is a value, it
// deletes nothing. In a multimodal config a top-level key that only text_config has goes there. Throws
// UsageError when `overrides` is no JSON object; "" and "{}" change nothing.
std::string merge_hf_overrides(const std::string& config, const std::string& overrides,
                               const std::string& origin);

}  // namespace outrider::model

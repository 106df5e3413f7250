#include "model/config.h"

#include <algorithm>

#include "base/error.h"
#include "model/json_fields.h"

namespace outrider::model {

using nlohmann::json;

namespace {

// Bounds far above any Llama 4, low enough that products of two or three of them fit 64 bits.
constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxLayers = 512;
constexpr int64_t kMaxExperts = 1024;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxVocabulary = 1 << 24;
constexpr int64_t kMaxPositions = (int64_t{1} << 31) - 1;

bool is_one_of(const json& value, std::initializer_list<const char*> names) {
  return value.is_string() &&
         std::any_of(names.begin(), names.end(), [&](const char* name) { return value == name; });
}

void check_architecture(const Fields& root) {
  const char* expected = "Llama 4 (\"Llama4ForConditionalGeneration\" or \"Llama4ForCausalLM\")";
  if (const json* architectures = root.find("architectures")) {
    const bool known = architectures->is_array() &&
                       std::any_of(architectures->begin(), architectures->end(), [](const json& name) {
                         return is_one_of(name, {"Llama4ForConditionalGeneration", "Llama4ForCausalLM"});
                       });
    if (!known) root.fail("architectures", expected);
    return;
  }
  const json* type = root.find("model_type");
  if (type == nullptr) root.fail("architectures", expected);
  if (!is_one_of(*type, {"llama4", "llama4_text"})) root.fail("model_type", "\"llama4\" or \"llama4_text\"");
}

// What the runners do not compute, and no published Llama 4 uses.
void check_unsupported(const Fields& text) {
  if (text.string("hidden_act", "silu") != "silu") text.fail("hidden_act", "\"silu\"");
  if (text.boolean("attention_bias", false)) text.fail("attention_bias", "false");
  if (text.boolean("tie_word_embeddings", false)) text.fail("tie_word_embeddings", "false");
}

void read_sizes(const Fields& text, LlamaConfig& config) {
  const auto read = [&](const char* key, int64_t high) {
    return static_cast<int>(text.integer(key, 1, high));
  };
  config.hidden_size = read("hidden_size", kMaxWidth);
  config.num_layers = read("num_hidden_layers", kMaxLayers);
  config.num_heads = read("num_attention_heads", kMaxHeads);
  config.num_kv_heads = read("num_key_value_heads", kMaxHeads);
  if (config.num_heads % config.num_kv_heads != 0)
    text.fail("num_key_value_heads", "a divisor of num_attention_heads " + std::to_string(config.num_heads));
  if (!text.find("head_dim") && config.hidden_size % config.num_heads != 0)
    text.fail("num_attention_heads", "a divisor of hidden_size " + std::to_string(config.hidden_size));
  config.head_dim =
      static_cast<int>(text.integer("head_dim", 2, kMaxHeadDim, config.hidden_size / config.num_heads));
  if (config.head_dim < 2 || config.head_dim > kMaxHeadDim || config.head_dim % 2 != 0)
    text.fail("head_dim", "an even number (RoPE rotates pairs), 2 to " + std::to_string(kMaxHeadDim));
  config.intermediate_size = read("intermediate_size", kMaxWidth);
  config.vocab_size = read("vocab_size", kMaxVocabulary);
  config.max_position_embeddings = text.integer("max_position_embeddings", 1, kMaxPositions);
}

// Which layers are MoE, and the sizes that only some layers need.
void read_feed_forward(const Fields& text, LlamaConfig& config) {
  const int layers = config.num_layers;
  config.is_moe_layer.assign(layers, false);
  if (text.find("moe_layers")) {
    for (const int64_t layer : text.integers("moe_layers", 0, layers - 1)) config.is_moe_layer[layer] = true;
  } else if (const int64_t step = text.integer("interleave_moe_layer_step", 0, kMaxLayers, 1); step > 0) {
    for (int64_t layer = step - 1; layer < layers; layer += step) config.is_moe_layer[layer] = true;
  }
  const auto is_moe = std::count(config.is_moe_layer.begin(), config.is_moe_layer.end(), true);
  if (is_moe > 0) {
    config.num_experts = static_cast<int>(text.integer("num_local_experts", 1, kMaxExperts));
    config.num_experts_per_token = static_cast<int>(text.integer("num_experts_per_tok", 1, 1, 1));
  }
  if (is_moe < layers)
    config.intermediate_size_mlp = static_cast<int>(text.integer("intermediate_size_mlp", 1, kMaxWidth));
}

// RoPE or NoPE for each layer. Newer writers add layer_types, which must say the same: a RoPE layer that
// attends to everything is not a Llama 4.
void read_attention_pattern(const Fields& text, LlamaConfig& config) {
  const int layers = config.num_layers;
  if (text.has("attention_chunk_size") && !text.find("attention_chunk_size"))
    config.attention_chunk_size = 0;
  else
    config.attention_chunk_size =
        static_cast<int>(text.integer("attention_chunk_size", 1, kMaxPositions, 8192));

  const std::vector<int64_t> flags = text.integers("no_rope_layers", 0, 1);
  if (!flags.empty()) {
    if (static_cast<int>(flags.size()) != layers || !text.find("no_rope_layers")->is_array())
      text.fail("no_rope_layers",
                "a list of num_hidden_layers = " + std::to_string(layers) + " entries, 0 or 1");
    config.is_rope_layer.assign(flags.begin(), flags.end());
  } else {
    const char* key = text.find("no_rope_layer_interval") ? "no_rope_layer_interval" : "nope_layer_interval";
    const int64_t interval = text.integer(key, 1, kMaxPositions, 4);
    config.is_rope_layer.assign(layers, true);
    for (int64_t layer = interval - 1; layer < layers; layer += interval) config.is_rope_layer[layer] = false;
  }

  const json* types = text.find("layer_types");
  if (types == nullptr) return;
  if (!types->is_array() || static_cast<int>(types->size()) != layers)
    text.fail("layer_types", "a list of num_hidden_layers = " + std::to_string(layers) + " entries");
  for (int layer = 0; layer < layers; ++layer) {
    const bool chunked = is_one_of((*types)[layer], {"chunked_attention"});
    if (!chunked && !is_one_of((*types)[layer], {"full_attention"}))
      text.fail("layer_types",
                "\"chunked_attention\" or \"full_attention\" for layer " + std::to_string(layer));
    if (config.attention_chunk_size > 0 && chunked != config.is_rope_layer[layer])
      text.fail("layer_types", "\"chunked_attention\" exactly where no_rope_layers is 1, which layer " +
                                   std::to_string(layer) + " is not");
  }
}

// transformers 5 writes one object rope_parameters; earlier ones rope_theta and rope_scaling. An object
// rope_scaling wins, as it does in transformers, so that --hf-overrides with the familiar spelling has its
// effect.
void read_rope(const Fields& text, LlamaConfig& config) {
  const std::optional<Fields> parameters = text.object("rope_parameters");
  const std::optional<Fields> legacy = text.object("rope_scaling");
  const bool theta_inside = parameters && parameters->find("rope_theta");
  config.rope_theta =
      static_cast<float>((theta_inside ? *parameters : text).number("rope_theta", 1.0, 1e12, 500000.0));

  if (!legacy && !parameters) return;
  const Fields& scaling = legacy ? *legacy : *parameters;
  const char* type_key = scaling.find("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.string(type_key, "default");
  if (type == "default") return;
  if (type != "llama3") scaling.fail(type_key, "\"llama3\" or \"default\"");
  RopeScaling& rope = config.rope_scaling;
  rope.factor = static_cast<float>(scaling.number("factor", 1.0, 1e6));
  rope.low_freq_factor = static_cast<float>(scaling.number("low_freq_factor", 0.0, 1e6, {}, true));
  // Scout has high == low: the band between them is empty.
  rope.high_freq_factor = static_cast<float>(scaling.number("high_freq_factor", rope.low_freq_factor, 1e6));
  rope.original_max_position_embeddings =
      scaling.integer("original_max_position_embeddings", 1, kMaxPositions);
}

// Early files hold the number 4 where later ones hold true.
bool read_temperature_tuning(const Fields& text) {
  const char* key = "attn_temperature_tuning";
  if (!text.has(key)) return true;
  const json* value = text.find(key);
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  if (!value->is_number()) text.fail(key, "true, false or a number");
  return value->get<double>() != 0.0;
}

void read_attention(const Fields& text, LlamaConfig& config) {
  config.use_qk_norm = text.boolean("use_qk_norm", true);
  config.attn_temperature_tuning = read_temperature_tuning(text);
  config.floor_scale = static_cast<float>(text.number("floor_scale", 1.0, 1e12, 8192.0));
  config.attn_scale = static_cast<float>(text.number("attn_scale", 0.0, 1e3, 0.1));
  config.rms_norm_eps = static_cast<float>(text.number("rms_norm_eps", 1e-12, 1.0, 1e-5));
}

// Token ids index rows of the logits, so they must lie inside the vocabulary; -1 stands for none.
void read_special_tokens(const Fields& root, const Fields& text, LlamaConfig& config) {
  const auto where = [&](const char* key) -> const Fields& { return text.find(key) ? text : root; };
  const int64_t last = config.vocab_size - 1;
  config.bos_token_id = static_cast<int>(where("bos_token_id").integer("bos_token_id", -1, last, -1));
  config.pad_token_id = static_cast<int>(where("pad_token_id").integer("pad_token_id", -1, last, -1));
  for (const int64_t id : where("eos_token_id").integers("eos_token_id", 0, last))
    config.eos_token_ids.push_back(static_cast<int>(id));
}

void merge(json& target, const json& patch) {
  for (const auto& [key, value] : patch.items()) {
    if (value.is_object() && target.contains(key) && target[key].is_object())
      merge(target[key], value);
    else
      target[key] = value;
  }
}

}  // namespace

LlamaConfig parse_config(const std::string& text, const std::string& origin) {
  const json document = parse_json_object(text, origin);
  const Fields root(document, origin);
  check_architecture(root);
  LlamaConfig config;
  const std::optional<Fields> wrapped = root.object("text_config");
  const Fields& fields = wrapped ? *wrapped : root;
  config.multimodal = wrapped.has_value();
  check_unsupported(fields);
  read_sizes(fields, config);
  read_feed_forward(fields, config);
  read_attention_pattern(fields, config);
  read_rope(fields, config);
  read_attention(fields, config);
  read_special_tokens(root, fields, config);
  return config;
}

GenerationDefaults parse_generation_config(const std::string& text, const std::string& origin) {
  GenerationDefaults defaults;
  if (text.empty()) return defaults;
  const json document = parse_json_object(text, origin);
  const Fields fields(document, origin);
  const auto number = [&](const char* key, double low, double high, bool low_excluded,
                          std::optional<double>& to) {
    if (fields.find(key)) to = fields.number(key, low, high, {}, low_excluded);
  };
  number("temperature", 0.0, 1e3, false, defaults.temperature);
  number("top_p", 0.0, 1.0, true, defaults.top_p);
  number("min_p", 0.0, 1.0, false, defaults.min_p);
  number("repetition_penalty", 0.0, 1e3, true, defaults.repetition_penalty);
  if (fields.find("top_k")) defaults.top_k = fields.integer("top_k", -1, kMaxVocabulary);
  if (fields.find("max_new_tokens"))
    defaults.max_new_tokens = fields.integer("max_new_tokens", 1, kMaxPositions);
  for (const int64_t id : fields.integers("eos_token_id", 0, kMaxVocabulary - 1))
    defaults.eos_token_ids.push_back(static_cast<int>(id));
  return defaults;
}

std::string merge_hf_overrides(const std::string& config, const std::string& overrides,
                               const std::string& origin) {
  if (overrides.empty()) return config;
  json patch;
  try {
    patch = parse_json_object(overrides, "--hf-overrides");
  } catch (const CheckpointError& error) {
    throw UsageError(error.what());
  }
  if (patch.empty()) return config;
  json document = parse_json_object(config, origin);
  const auto text = document.find("text_config");
  if (text != document.end() && text->is_object()) {
    for (auto it = patch.begin(); it != patch.end();) {
      const bool of_text_model = !document.contains(it.key()) && text->contains(it.key());
      if (of_text_model) merge(*text, json::object({{it.key(), it.value()}}));
      it = of_text_model ? patch.erase(it) : std::next(it);
    }
  }
  merge(document, patch);
  return document.dump();
}

}  // namespace outrider::model

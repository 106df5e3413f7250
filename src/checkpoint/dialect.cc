#include "checkpoint/dialect.h"

#include <cassert>

namespace outrider::checkpoint {

using model::LlamaConfig;
using model::WeightFormat;

namespace {

constexpr int kNvfp4Block = 16;  // cols that share a block scale

int one(const LlamaConfig&) { return 1; }
int hidden(const LlamaConfig& c) { return c.hidden_size; }
int vocab(const LlamaConfig& c) { return c.vocab_size; }
int q_size(const LlamaConfig& c) { return c.q_size(); }
int kv_size(const LlamaConfig& c) { return c.kv_size(); }
int experts(const LlamaConfig& c) { return c.num_experts; }
int inter(const LlamaConfig& c) { return c.intermediate_size; }
int two_inter(const LlamaConfig& c) { return 2 * c.intermediate_size; }
int inter_mlp(const LlamaConfig& c) { return c.intermediate_size_mlp; }

#define LAYER "model.layers.{L}."
constexpr Rule kRules[] = {
    {Role::kEmbed, "embedding", "model.embed_tokens", Kind::kPlain, Scope::kModel, vocab, hidden},
    {Role::kLmHead, "lm_head", "lm_head", Kind::kPlain, Scope::kModel, vocab, hidden},
    {Role::kFinalNorm, "final norm", "model.norm", Kind::kNorm, Scope::kModel, one, hidden},
    {Role::kInputNorm, "norms", LAYER "input_layernorm", Kind::kNorm, Scope::kEveryLayer, one, hidden},
    {Role::kPostAttentionNorm, "norms", LAYER "post_attention_layernorm", Kind::kNorm, Scope::kEveryLayer,
     one, hidden},
    {Role::kQ, "q_proj", LAYER "self_attn.q_proj", Kind::kLinear, Scope::kEveryLayer, q_size, hidden},
    {Role::kK, "k_proj", LAYER "self_attn.k_proj", Kind::kLinear, Scope::kEveryLayer, kv_size, hidden},
    {Role::kV, "v_proj", LAYER "self_attn.v_proj", Kind::kLinear, Scope::kEveryLayer, kv_size, hidden},
    {Role::kO, "o_proj", LAYER "self_attn.o_proj", Kind::kLinear, Scope::kEveryLayer, hidden, q_size},
    {Role::kKScale, "KV scales", LAYER "self_attn.k_proj.k_scale", Kind::kScalar, Scope::kEveryLayer, one,
     one},
    {Role::kKScale, "KV scales", LAYER "self_attn.attn.k_scale", Kind::kScalar, Scope::kEveryLayer, one, one},
    {Role::kKScale, "KV scales", LAYER "self_attn.k_scale", Kind::kScalar, Scope::kEveryLayer, one, one},
    {Role::kVScale, "KV scales", LAYER "self_attn.v_proj.v_scale", Kind::kScalar, Scope::kEveryLayer, one,
     one},
    {Role::kVScale, "KV scales", LAYER "self_attn.attn.v_scale", Kind::kScalar, Scope::kEveryLayer, one, one},
    {Role::kVScale, "KV scales", LAYER "self_attn.v_scale", Kind::kScalar, Scope::kEveryLayer, one, one},
    {Role::kRouter, "router", LAYER "feed_forward.router", Kind::kPlain, Scope::kMoeLayer, experts, hidden},
    {Role::kFusedGateUp, "experts gate_up", LAYER "feed_forward.experts.gate_up_proj", Kind::kFused,
     Scope::kMoeLayer, two_inter, hidden},
    {Role::kFusedDown, "experts down", LAYER "feed_forward.experts.down_proj", Kind::kFused, Scope::kMoeLayer,
     hidden, inter},
    {Role::kExpertGate, "experts gate", LAYER "feed_forward.experts.{E}.gate_proj", Kind::kLinear,
     Scope::kMoeLayer, inter, hidden},
    {Role::kExpertUp, "experts up", LAYER "feed_forward.experts.{E}.up_proj", Kind::kLinear, Scope::kMoeLayer,
     inter, hidden},
    {Role::kExpertDown, "experts down", LAYER "feed_forward.experts.{E}.down_proj", Kind::kLinear,
     Scope::kMoeLayer, hidden, inter},
    {Role::kSharedGate, "shared gate", LAYER "feed_forward.shared_expert.gate_proj", Kind::kLinear,
     Scope::kMoeLayer, inter, hidden},
    {Role::kSharedUp, "shared up", LAYER "feed_forward.shared_expert.up_proj", Kind::kLinear,
     Scope::kMoeLayer, inter, hidden},
    {Role::kSharedDown, "shared down", LAYER "feed_forward.shared_expert.down_proj", Kind::kLinear,
     Scope::kMoeLayer, hidden, inter},
    {Role::kDenseGate, "dense gate", LAYER "feed_forward.gate_proj", Kind::kLinear, Scope::kDenseLayer,
     inter_mlp, hidden},
    {Role::kDenseUp, "dense up", LAYER "feed_forward.up_proj", Kind::kLinear, Scope::kDenseLayer, inter_mlp,
     hidden},
    {Role::kDenseDown, "dense down", LAYER "feed_forward.down_proj", Kind::kLinear, Scope::kDenseLayer,
     hidden, inter_mlp},
};
#undef LAYER

struct Suffix {
  Kind kind;
  const char* text;
  Part part;
};

constexpr Suffix kSuffixes[] = {
    {Kind::kNorm, ".weight", Part::kWeight},
    {Kind::kPlain, ".weight", Part::kWeight},
    {Kind::kLinear, ".weight", Part::kWeight},
    {Kind::kLinear, ".weight_scale", Part::kWeightScale},  // FP8: scalar; NVFP4: block scales
    {Kind::kLinear, ".weight_scale_2", Part::kWeightScale2},
    {Kind::kLinear, ".input_scale", Part::kInputScale},
    {Kind::kFused, "", Part::kWeight},
    {Kind::kFused, "_weight_scale", Part::kWeightScale},
    {Kind::kFused, "_weight_scale_2", Part::kWeightScale2},
    {Kind::kFused, "_input_scale", Part::kInputScale},
    {Kind::kScalar, "", Part::kWeight},
};

// Takes a decimal number without leading zeros off the front of `text`.
std::optional<int> take_number(std::string_view& text) {
  size_t digits = 0;
  int value = 0;
  while (digits < text.size() && digits < 6 && text[digits] >= '0' && text[digits] <= '9')
    value = 10 * value + (text[digits++] - '0');
  if (digits == 0 || (digits > 1 && text[0] == '0')) return {};
  text.remove_prefix(digits);
  return value;
}

// What is left of `name` behind `pattern`; fills layer and expert.
std::optional<std::string_view> match(std::string_view pattern, std::string_view name, Slot& slot) {
  while (!pattern.empty()) {
    if (pattern.front() == '{') {
      const std::optional<int> number = take_number(name);
      if (!number) return {};
      (pattern[1] == 'L' ? slot.layer : slot.expert) = *number;
      pattern.remove_prefix(3);
    } else {
      if (name.empty() || name.front() != pattern.front()) return {};
      name.remove_prefix(1);
      pattern.remove_prefix(1);
    }
  }
  return name;
}

}  // namespace

const Rule& rule_of(Role role) {
  for (const Rule& rule : kRules)
    if (rule.role == role) return rule;
  assert(false && "every role has a rule");
  return kRules[0];
}

std::optional<Slot> slot_of(std::string_view name) {
  if (name.starts_with(kTextPrefix)) name.remove_prefix(kTextPrefix.size());
  for (const Rule& rule : kRules) {
    Slot slot{rule.role};
    const std::optional<std::string_view> rest = match(rule.pattern, name, slot);
    if (!rest) continue;
    for (const Suffix& suffix : kSuffixes) {
      if (suffix.kind != rule.kind || suffix.text != *rest) continue;
      slot.part = suffix.part;
      return slot;
    }
  }
  return {};
}

std::string name_of(const Slot& slot, const std::string& prefix) {
  const Rule& rule = rule_of(slot.role);
  std::string name = prefix;
  for (const char* c = rule.pattern; *c != '\0'; ++c) {
    if (*c != '{') {
      name += *c;
      continue;
    }
    name += std::to_string(c[1] == 'L' ? slot.layer : slot.expert);
    c += 2;
  }
  for (const Suffix& suffix : kSuffixes)
    if (suffix.kind == rule.kind && suffix.part == slot.part) return name + suffix.text;
  return name;
}

bool is_vision(std::string_view name) {
  return name.starts_with("vision_model.") || name.starts_with("multi_modal_projector.");
}

bool belongs(const Slot& slot, const LlamaConfig& config) {
  const Scope scope = rule_of(slot.role).scope;
  if (scope == Scope::kModel) return true;
  if (slot.layer >= config.num_layers || slot.expert >= config.num_experts) return false;
  return scope == Scope::kEveryLayer || (scope == Scope::kMoeLayer) == config.is_moe_layer[slot.layer];
}

std::vector<int64_t> weight_shape(const Rule& rule, const LlamaConfig& config, WeightFormat format) {
  const int64_t rows = rule.rows(config);
  const int64_t cols = rule.cols(config) / (format == WeightFormat::kNvfp4 ? 2 : 1);  // two codes a byte
  if (rule.kind == Kind::kNorm) return {cols};
  if (rule.kind == Kind::kFused) return {config.num_experts, cols, rows};
  return {rows, cols};
}

std::vector<int64_t> block_scale_shape(const Rule& rule, const LlamaConfig& config) {
  const int64_t rows = rule.rows(config);
  const int64_t blocks = rule.cols(config) / kNvfp4Block;
  if (rule.kind == Kind::kFused) return {config.num_experts, blocks, rows};
  return {rows, blocks};
}

model::Matrix fused_half(model::Matrix fused, int which) {
  fused.rows /= 2;
  const int64_t offset = int64_t{which} * fused.rows;
  // A stored row of NVFP4 holds one byte for each output, as FP8's does.
  const int64_t bytes = (fused.format == WeightFormat::kBf16 ? 2 : 1) * offset;
  if (fused.data != nullptr) fused.data = static_cast<const std::byte*>(fused.data) + bytes;
  if (fused.block_scales != nullptr) fused.block_scales += offset;
  return fused;
}

}  // namespace outrider::checkpoint

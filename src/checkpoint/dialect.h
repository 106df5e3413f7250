// Every tensor name of every Llama 4 checkpoint dialect, in one table: name pattern -> role, shape, dtype,
// scales, layout. docs/checkpoints.md shows it to people.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/weights.h"

namespace outrider::checkpoint {

enum class Role {
  kEmbed,
  kLmHead,
  kFinalNorm,
  kInputNorm,
  kPostAttentionNorm,
  kQ,
  kK,
  kV,
  kO,
  kKScale,
  kVScale,
  kRouter,
  kFusedGateUp,  // all experts, gate and up side by side
  kFusedDown,
  kExpertGate,  // one tensor an expert
  kExpertUp,
  kExpertDown,
  kSharedGate,
  kSharedUp,
  kSharedDown,
  kDenseGate,
  kDenseUp,
  kDenseDown,
};

// What a module consists of, hence which suffixes its tensors have.
enum class Kind {
  kNorm,    // .weight, bf16 [cols]
  kPlain,   // .weight, bf16 [rows, cols] in every dialect
  kLinear,  // .weight [rows, cols] in bf16, FP8 or NVFP4; .weight_scale, .weight_scale_2, .input_scale
  kFused,   // no .weight; [experts, cols, rows]; _weight_scale, _weight_scale_2, _input_scale
  kScalar,  // the tensor is the module
};

enum class Part { kWeight, kWeightScale, kWeightScale2, kInputScale };

enum class Scope { kModel, kEveryLayer, kMoeLayer, kDenseLayer };

struct Rule {
  Role role;
  const char* title;    // for people
  const char* pattern;  // {L}: layer, {E}: expert; an optional "language_model." goes before it
  Kind kind;
  Scope scope;
  int (*rows)(const model::LlamaConfig&);
  int (*cols)(const model::LlamaConfig&);
};

// One tensor's place in the model.
struct Slot {
  Role role = Role::kEmbed;
  int layer = -1;
  int expert = -1;
  Part part = Part::kWeight;
  auto operator<=>(const Slot&) const = default;
};

const Rule& rule_of(Role role);

// Goes before every tensor's and module's name where the checkpoint holds a vision tower too.
inline constexpr std::string_view kTextPrefix = "language_model.";

std::optional<Slot> slot_of(std::string_view name);

// The name that `slot` has by the table; the first pattern where a role has several.
std::string name_of(const Slot& slot, const std::string& prefix);

// vision_model.* and multi_modal_projector.*: known, not read.
bool is_vision(std::string_view name);

// Whether the slot exists in a model of this configuration (layer and expert in range, layer of that sort).
bool belongs(const Slot& slot, const model::LlamaConfig& config);

// Shape of the weight (and of NVFP4's block scales) by kind and format.
std::vector<int64_t> weight_shape(const Rule& rule, const model::LlamaConfig& config,
                                  model::WeightFormat format);
std::vector<int64_t> block_scale_shape(const Rule& rule, const model::LlamaConfig& config);

// Gate (0) or up (1) of one expert's fused gate_up matrix: gate lies in the first half of the rows, up in the
// second. Both keep the fused stride.
model::Matrix fused_half(model::Matrix fused, int which);

}  // namespace outrider::checkpoint

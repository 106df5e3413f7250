#include "checkpoint/binder.h"

#include <algorithm>

#include "base/error.h"
#include "checkpoint/scales.h"
#include "model/json_fields.h"

namespace outrider::checkpoint {

using model::in_quotes;
using model::Layer;
using model::Layout;
using model::LlamaConfig;
using model::Matrix;
using model::Mlp;
using model::WeightFormat;

namespace {

[[noreturn]] void fail(const Tensor& tensor, const std::string& what) {
  throw CheckpointError("tensor " + in_quotes(tensor.name) + " " + what);
}

void check_shape(const Tensor& tensor, const std::vector<int64_t>& expected) {
  if (tensor.shape != expected)
    fail(tensor,
         "has shape " + shape_text(tensor.shape) + ", expected " + shape_text(expected) + " by config.json");
}

void check_dtype(const Tensor& tensor, Dtype expected) {
  if (tensor.dtype != expected)
    fail(tensor, std::string("is ") + name_of(tensor.dtype) + ", expected " + name_of(expected));
}

WeightFormat format_of(const Tensor& weight) {
  switch (weight.dtype) {
    case Dtype::kBF16:
      return WeightFormat::kBf16;
    case Dtype::kF8E4M3:
      return WeightFormat::kFp8;
    case Dtype::kU8:
      return WeightFormat::kNvfp4;
    default:
      fail(weight,
           std::string("is ") + name_of(weight.dtype) + ", expected BF16, F8_E4M3 (FP8) or U8 (NVFP4)");
  }
}

// Bytes that one element along the stored rows takes times `elements`; NVFP4 holds two codes a byte.
int64_t bytes_for(WeightFormat format, int64_t elements) {
  return format == WeightFormat::kBf16  ? 2 * elements
         : format == WeightFormat::kFp8 ? elements
                                        : elements / 2;
}

class Binder {
 public:
  Binder(const Inventory& inventory, const LlamaConfig& config) : inventory_(inventory), config_(config) {}

  Binding run() {
    model::Weights& weights = binding_.weights;
    weights.embed = linear({Role::kEmbed});
    weights.lm_head = linear({Role::kLmHead});
    weights.final_norm = norm({Role::kFinalNorm});
    weights.layers.resize(config_.num_layers);
    for (int i = 0; i < config_.num_layers; ++i) {
      bind_attention(i, weights.layers[i]);
      if (config_.is_moe_layer[i])
        bind_moe(i, weights.layers[i]);
      else
        weights.layers[i].dense = mlp(i, Role::kDenseGate, Role::kDenseUp, Role::kDenseDown);
    }
    return std::move(binding_);
  }

 private:
  const Tensor* find(Slot slot, Part part) const {
    slot.part = part;
    const auto it = inventory_.slots.find(slot);
    return it == inventory_.slots.end() ? nullptr : it->second;
  }

  const Tensor* require(Slot slot, Part part) {
    const Tensor* tensor = find(slot, part);
    slot.part = part;
    if (tensor == nullptr) binding_.missing.push_back(name_of(slot, inventory_.prefix));
    return tensor;
  }

  const uint16_t* norm(Slot slot) {
    const Tensor* tensor = require(slot, Part::kWeight);
    if (tensor == nullptr) return nullptr;
    check_dtype(*tensor, Dtype::kBF16);
    check_shape(*tensor, weight_shape(rule_of(slot.role), config_, WeightFormat::kBf16));
    return reinterpret_cast<const uint16_t*>(tensor->data);
  }

  Matrix linear(Slot slot) {
    std::vector<Matrix> one = matrices(slot);
    return one.empty() ? Matrix() : one.front();
  }

  // The matrices of a module: all experts of a fused one, else a single one; none when its weight is missing.
  std::vector<Matrix> matrices(Slot slot) {
    const Rule& rule = rule_of(slot.role);
    const Tensor* weight = require(slot, Part::kWeight);
    if (weight == nullptr) return {};
    if (rule.kind == Kind::kPlain) check_dtype(*weight, Dtype::kBF16);
    const WeightFormat format = format_of(*weight);
    note_format(*weight, format);
    if (format == WeightFormat::kNvfp4) check_nvfp4_shape(rule, *weight);
    check_shape(*weight, weight_shape(rule, config_, format));

    const bool fused = rule.kind == Kind::kFused;
    Matrix matrix;
    matrix.format = format;
    matrix.layout = fused ? Layout::kColMajor : Layout::kRowMajor;
    matrix.rows = rule.rows(config_);
    matrix.cols = rule.cols(config_);
    matrix.stride = fused ? matrix.rows : matrix.cols;
    const int64_t elements = int64_t{matrix.rows} * matrix.cols;
    std::vector<Matrix> all(fused ? config_.num_experts : 1, matrix);
    for (size_t e = 0; e < all.size(); ++e)
      all[e].data = weight->data + bytes_for(format, static_cast<int64_t>(e) * elements);
    if (format == WeightFormat::kNvfp4) set_block_scales(slot, all);
    if (format != WeightFormat::kBf16) set_scales(slot, format, all);
    return all;
  }

  void set_block_scales(Slot slot, std::vector<Matrix>& all) {
    const Tensor* scales = require(slot, Part::kWeightScale);
    if (scales == nullptr) return;
    check_dtype(*scales, Dtype::kF8E4M3);
    const std::vector<int64_t> shape = block_scale_shape(rule_of(slot.role), config_);
    check_shape(*scales, shape);
    binding_.block_scales.push_back(scales);
    const int64_t bytes = scales->bytes / static_cast<int64_t>(all.size());
    for (size_t e = 0; e < all.size(); ++e) {
      all[e].block_scales = reinterpret_cast<const uint8_t*>(scales->data) + static_cast<int64_t>(e) * bytes;
      all[e].block_scale_stride = shape.back();
    }
  }

  void set_scales(Slot slot, WeightFormat format, std::vector<Matrix>& all) {
    const int count = static_cast<int>(all.size());
    const Part part = format == WeightFormat::kFp8 ? Part::kWeightScale : Part::kWeightScale2;
    if (const Tensor* tensor = require(slot, part)) {
      const std::vector<float> values = read_scales(*tensor, count);
      for (int e = 0; e < count; ++e) all[e].weight_scale = values[e];
      for (const float value : values) binding_.weight_scales.add(value);
    }
    const Tensor* tensor = find(slot, Part::kInputScale);
    if (tensor == nullptr) {
      binding_.without_input_scale += count;
      return;
    }
    const std::vector<float> values = read_scales(*tensor, count);
    for (int e = 0; e < count; ++e) all[e].input_scale = values[e];
    for (const float value : values) binding_.input_scales.add(value);
  }

  void note_format(const Tensor& weight, WeightFormat format) {
    WeightFormat& seen = binding_.weights.format;
    if (format == WeightFormat::kBf16) return;
    if (seen != WeightFormat::kBf16 && seen != format)
      fail(weight, std::string("is ") + name_of(weight.dtype) +
                       ": FP8 and NVFP4 in one checkpoint are not supported");
    seen = format;
  }

  // ModelOpt 0.27 to 0.29 quantised the experts along the output: [E, in, out/2].
  void check_nvfp4_shape(const Rule& rule, const Tensor& weight) const {
    const int64_t rows = rule.rows(config_);
    const int64_t cols = rule.cols(config_);
    if (cols % 16 != 0)
      fail(weight, "is NVFP4 with an inner size of " + std::to_string(cols) + ", expected a multiple of 16");
    const std::vector<int64_t> old_shape = {config_.num_experts, cols, rows / 2};
    if (rule.kind == Kind::kFused && weight.shape == old_shape)
      fail(weight,
           "has shape " + shape_text(weight.shape) +
               ": NVFP4 as ModelOpt 0.27 to 0.29 wrote it is not supported; export the model again with "
               "ModelOpt 0.31 or later");
  }

  void bind_attention(int i, Layer& layer) {
    layer.input_norm = norm({Role::kInputNorm, i});
    layer.post_attention_norm = norm({Role::kPostAttentionNorm, i});
    layer.q = linear({Role::kQ, i});
    layer.k = linear({Role::kK, i});
    layer.v = linear({Role::kV, i});
    layer.o = linear({Role::kO, i});
    const Tensor* k_scale = find({Role::kKScale, i}, Part::kWeight);
    const Tensor* v_scale = find({Role::kVScale, i}, Part::kWeight);
    layer.has_kv_scales = k_scale != nullptr && v_scale != nullptr;
    binding_.layers_without_kv_scales += !layer.has_kv_scales;
    if (k_scale != nullptr) binding_.k_scales.add(layer.k_scale = read_scales(*k_scale, 1)[0]);
    if (v_scale != nullptr) binding_.v_scales.add(layer.v_scale = read_scales(*v_scale, 1)[0]);
  }

  Mlp mlp(int i, Role gate, Role up, Role down, int expert = -1) {
    return {linear({gate, i, expert}), linear({up, i, expert}), linear({down, i, expert})};
  }

  void bind_moe(int i, Layer& layer) {
    layer.router = linear({Role::kRouter, i});
    layer.shared_expert = mlp(i, Role::kSharedGate, Role::kSharedUp, Role::kSharedDown);
    layer.experts.resize(config_.num_experts);
    const bool fused =
        find({Role::kFusedGateUp, i}, Part::kWeight) || find({Role::kFusedDown, i}, Part::kWeight);
    const Tensor* single = first_expert_weight(i);
    if (fused && single != nullptr)
      fail(*single, "is given besides the fused experts of its layer, expected one form");
    if (!fused && single != nullptr) {
      for (int e = 0; e < config_.num_experts; ++e)
        layer.experts[e] = mlp(i, Role::kExpertGate, Role::kExpertUp, Role::kExpertDown, e);
      return;
    }
    const std::vector<Matrix> gate_up = matrices({Role::kFusedGateUp, i});
    const std::vector<Matrix> down = matrices({Role::kFusedDown, i});
    for (size_t e = 0; e < gate_up.size(); ++e) {
      layer.experts[e].gate = fused_half(gate_up[e], 0);
      layer.experts[e].up = fused_half(gate_up[e], 1);
    }
    for (size_t e = 0; e < down.size(); ++e) layer.experts[e].down = down[e];
  }

  const Tensor* first_expert_weight(int i) const {
    for (const Role role : {Role::kExpertGate, Role::kExpertUp, Role::kExpertDown}) {
      const auto it = inventory_.slots.lower_bound({role, i, 0, Part::kWeight});
      if (it != inventory_.slots.end() && it->first.role == role && it->first.layer == i) return it->second;
    }
    return nullptr;
  }

  const Inventory& inventory_;
  const LlamaConfig& config_;
  Binding binding_;
};

}  // namespace

void ScaleRange::add(float value) {
  low = count == 0 ? value : std::min(low, value);
  high = count == 0 ? value : std::max(high, value);
  ++count;
}

Inventory take_inventory(const std::vector<Tensor>& tensors, const LlamaConfig& config) {
  Inventory inventory;
  for (const Tensor& tensor : tensors) {
    if (is_vision(tensor.name)) {
      inventory.vision.push_back(&tensor);
      continue;
    }
    const std::optional<Slot> slot = slot_of(tensor.name);
    if (!slot || !belongs(*slot, config)) {
      inventory.unused.push_back(tensor.name);
      continue;
    }
    if (tensor.name.starts_with("language_model.")) inventory.prefix = "language_model.";
    const auto [it, inserted] = inventory.slots.emplace(*slot, &tensor);
    if (!inserted) fail(tensor, "means the same as tensor " + in_quotes(it->second->name));
  }
  return inventory;
}

Binding bind(const Inventory& inventory, const LlamaConfig& config) {
  return Binder(inventory, config).run();
}

}  // namespace outrider::checkpoint

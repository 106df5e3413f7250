#include "checkpoint/load.h"

#include <filesystem>

#include "base/error.h"
#include "checkpoint/binder.h"
#include "checkpoint/describe.h"
#include "checkpoint/dummy.h"
#include "checkpoint/quantization.h"
#include "checkpoint/scales.h"
#include "checkpoint/tensor_set.h"
#include "model/json_fields.h"

namespace outrider::checkpoint {

using model::in_quotes;

namespace {

constexpr size_t kMaxConfigBytes = 4 << 20;

std::string first_few(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < 3; ++i) text += (i > 0 ? ", " : "") + in_quotes(names[i]);
  return text + (names.size() > 3 ? ", ..." : "");
}

}  // namespace

Description describe(const std::string& folder, const std::string& hf_overrides) {
  Description description;
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) throw CheckpointError(folder + ": no such folder");
  const std::string config_path = folder + "/config.json";
  const std::optional<std::string> config = read_text_file(config_path, kMaxConfigBytes);
  if (!config)
    throw CheckpointError(config_path + ": missing; is this the folder of a Hugging Face checkpoint?");
  const std::string merged = model::merge_hf_overrides(*config, hf_overrides, config_path);
  description.config = model::parse_config(merged, config_path);

  const std::string generation_path = folder + "/generation_config.json";
  description.generation = model::parse_generation_config(
      read_text_file(generation_path, kMaxConfigBytes).value_or(""), generation_path);
  for (const int id : description.generation.eos_token_ids)
    if (id >= description.config.vocab_size)
      throw CheckpointError(generation_path + ": \"eos_token_id\" holds " + std::to_string(id) +
                            ", expected ids below vocab_size " +
                            std::to_string(description.config.vocab_size));

  const std::string quant_path = folder + "/hf_quant_config.json";
  description.declared =
      parse_quantization(merged, config_path, read_text_file(quant_path, kMaxConfigBytes), quant_path);
  return description;
}

std::vector<std::string> warnings_of(const Inventory& inventory, const Binding& binding,
                                     const DeclaredQuantization& declared) {
  std::vector<std::string> warnings = contradictions(declared, inventory, binding.weights.format);
  if (!inventory.unused.empty())
    warnings.push_back(std::to_string(inventory.unused.size()) +
                       " tensors have no place in this model and are not " +
                       "used: " + first_few(inventory.unused));
  if (binding.weights.format == model::WeightFormat::kBf16) return warnings;
  if (binding.layers_without_kv_scales > 0)
    warnings.push_back("k_scale or v_scale is absent in " + std::to_string(binding.layers_without_kv_scales) +
                       " layers: an FP8 KV cache uses 1.0 there");
  if (binding.without_input_scale > 0)
    warnings.push_back("input_scale is absent for " + std::to_string(binding.without_input_scale) +
                       " quantised matrices: their activations stay unquantised");
  return warnings;
}

model::Model load(const std::string& folder, const LoadOptions& options) {
  Description description = describe(folder, options.hf_overrides);
  model::Model model;
  model.source = folder;
  model.config = std::move(description.config);
  model.generation = std::move(description.generation);
  if (options.format == LoadFormat::kDummy) {
    const model::WeightFormat format = dummy_format(options.quantization, description.declared);
    model.weights = make_dummy_weights(model.config, format, options.seed);
    if (options.write_dummy) write_dummy_weights(model.weights);
    return model;
  }
  const TensorSet set = open_tensors(folder);
  const Inventory inventory = take_inventory(set.tensors, model.config);
  Binding binding = bind(inventory, model.config);
  if (!binding.missing.empty())
    throw CheckpointError(folder + ": " + std::to_string(binding.missing.size()) +
                          " tensors are missing: " + first_few(binding.missing));
  check_requested(options.quantization, binding.weights.format);
  check_block_scales(binding.block_scales);
  model.warnings = warnings_of(inventory, binding, description.declared);
  model.weights = std::move(binding.weights);
  model.weights.storage = set.source;
  model.weights.source = set.source;
  return model;
}

}  // namespace outrider::checkpoint

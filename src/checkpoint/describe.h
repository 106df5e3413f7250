// What `load` and `inspect` share: the small files of a folder, and what is worth a warning.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/binder.h"
#include "checkpoint/quantization.h"
#include "model/config.h"

namespace outrider::checkpoint {

struct Description {
  model::LlamaConfig config;
  model::GenerationDefaults generation;
  DeclaredQuantization declared;
};

// config.json, generation_config.json and hf_quant_config.json of a folder. Throws CheckpointError.
Description describe(const std::string& folder, const std::string& hf_overrides);

std::vector<std::string> warnings_of(const Inventory& inventory, const Binding& binding,
                                     const DeclaredQuantization& declared);

}  // namespace outrider::checkpoint

// What a checkpoint says about its quantisation, in config.json and in hf_quant_config.json. The tensors'
// dtypes decide; this is used to report contradictions, and to choose the format of dummy weights.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "checkpoint/binder.h"
#include "model/weights.h"

namespace outrider::checkpoint {

struct DeclaredQuantization {
  std::string algorithm;              // "FP8", "NVFP4", another method's name; "": none declared
  std::string kv_algorithm;           // "FP8" or ""
  std::string origin;                 // the file that says so
  std::string producer;               // "modelopt 0.47.0"
  std::vector<std::string> excluded;  // module names, with or without "language_model.", "*" as wildcard
  std::vector<std::string> warnings;  // the two files disagree
};

// `config` is config.json's text with quantization_config in any spelling; `hf_quant_config` the other
// file's, if there is one. Throws CheckpointError.
DeclaredQuantization parse_quantization(const std::string& config, const std::string& config_path,
                                        const std::optional<std::string>& hf_quant_config,
                                        const std::string& hf_quant_config_path);

// One line for each way in which the tensors differ from what is declared.
std::vector<std::string> contradictions(const DeclaredQuantization& declared, const Inventory& inventory,
                                        model::WeightFormat found);

const char* name_of(model::WeightFormat format);  // "bf16", "FP8", "NVFP4"

// Throws UsageError when --quantization names another format than the tensors have; "" agrees with all.
void check_requested(const std::string& quantization, model::WeightFormat found);

// The format of dummy weights: --quantization, else what is declared, else bf16. Throws UsageError or
// CheckpointError.
model::WeightFormat dummy_format(const std::string& quantization, const DeclaredQuantization& declared);

}  // namespace outrider::checkpoint

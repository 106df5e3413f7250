// From a folder to a model: config.json, safetensors (single or sharded, mapped), ModelOpt FP8 and NVFP4
// dialects.
#pragma once

#include <string>

#include "model/weights.h"

namespace outrider::checkpoint {

enum class LoadFormat { kAuto, kSafetensors, kDummy };

struct LoadOptions {
  LoadFormat format = LoadFormat::kAuto;
  std::string hf_overrides;  // JSON object merged into config.json; "" or "{}": none
  std::string
      quantization;  // "", "modelopt", "modelopt_fp4", "fp8": must agree with the checkpoint (dummy: chooses)
  uint64_t seed = 0;        // dummy weights
  bool write_dummy = true;  // dummy weights in host memory; false: a device makes them
};

// Throws CheckpointError: one line naming file, tensor or key, and what was expected.
model::Model load(const std::string& folder, const LoadOptions& options);

// `outrider inspect DIR`: config, tensors by role, scales, memory plan, what is missing or unused. Reads
// headers only. Returns the exit code (0: it would load).
int inspect(const std::string& folder, std::string& report);

}  // namespace outrider::checkpoint

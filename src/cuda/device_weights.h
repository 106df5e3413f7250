// A model's weights as the CUDA kernels want them: the matrices that share an input stacked, those of
// products as weight_image.h has them, the others [features][k] with K contiguous, in one allocation.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cuda/device.h"
#include "cuda/gemm.h"
#include "model/weights.h"

namespace outrider::cuda {

// A product and what its input is divided by before it becomes e4m3 (1 for bf16).
struct DeviceLinear {
  GemmWeights w;
  float input_scale = 1.0f;
  // Experts: one scale each, device [experts]; null otherwise.
  const float* input_scale_of_group = nullptr;
};

struct DeviceMlp {
  DeviceLinear gate_up;  // gated
  DeviceLinear down;
};

struct DeviceLayer {
  const void *input_norm = nullptr, *post_attention_norm = nullptr;  // bf16 [hidden]
  DeviceLinear qkv;                                                  // [q; k; v]
  DeviceLinear o;
  const void* router = nullptr;  // bf16 [experts, hidden]
  DeviceMlp experts, shared_expert;
  DeviceMlp
      all_experts;  // both as one, the shared expert first; without groups where they differ in type or shape
  DeviceMlp dense;
  float k_scale = 1.0f, v_scale = 1.0f;
};

struct DeviceWeights {
  DeviceBuffer memory;
  const void *embed = nullptr, *final_norm = nullptr;
  DeviceLinear lm_head;
  std::vector<DeviceLayer> layers;
};

// Bytes that upload() will allocate.
int64_t device_weight_bytes(const model::Model& model);

// Copies (or generates, for dummy weights) every matrix once, by several threads. Throws StartupError for
// what the kernels do not take, naming it.
DeviceWeights upload(const model::Model& model);

}  // namespace outrider::cuda

// Joins the tensors of a checkpoint with the places of a model that the dialect table gives them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "checkpoint/dialect.h"
#include "checkpoint/tensor_set.h"
#include "model/weights.h"

namespace outrider::checkpoint {

// The tensors of a checkpoint by the place they have in the model.
struct Inventory {
  std::map<Slot, const Tensor*> slots;
  std::vector<const Tensor*> vision;
  std::vector<std::string> unused;  // no place in this model
  std::string prefix;               // "language_model." or ""
};

// Throws CheckpointError where two names mean one place. Points into `tensors`.
Inventory take_inventory(const std::vector<Tensor>& tensors, const model::LlamaConfig& config);

struct ScaleRange {
  int64_t count = 0;
  float low = 0.0f;
  float high = 0.0f;
  void add(float value);
};

struct Binding {
  model::Weights weights;  // storage is left to the caller
  std::vector<std::string> missing;
  std::vector<const Tensor*> block_scales;  // not read yet
  ScaleRange weight_scales, input_scales, k_scales, v_scales;
  int64_t without_input_scale = 0;  // quantised matrices
  int64_t layers_without_kv_scales = 0;
};

// Views for every tensor of the model; absent ones are named in `missing` and their views left empty. Throws
// CheckpointError at a tensor of another shape or dtype than the table says, or a bad scale.
Binding bind(const Inventory& inventory, const model::LlamaConfig& config);

}  // namespace outrider::checkpoint

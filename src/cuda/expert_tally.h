// How evenly a model's rows spread over its experts: what a floor for the experts' products stands on. Kept
// for the debug log only.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/device.h"

namespace outrider::cuda {

// A step's choices, on the device: layer l's pairs begin at l * layer_stride; -1 where none was made.
struct ExpertChoices {
  const int32_t* expert_of_pair = nullptr;
  int64_t layer_stride = 0;
  int layers = 0, experts = 0;
};

class ExpertTally {
 public:
  ExpertTally(int layers, int experts);

  // Adds the first `pairs` choices of each layer.
  void add(const ExpertChoices& choices, int pairs, cudaStream_t stream);

  // Waits for what was added and begins anew. Layer after layer: rows of each expert, then experts that had
  // any row, summed over steps.
  std::vector<int64_t> take(cudaStream_t stream);
  int64_t steps() const { return steps_; }

  // A line about take()'s numbers; empty where nothing was routed.
  static std::string describe(const std::vector<int64_t>& counts, int experts, int64_t steps);

 private:
  const int layers_, experts_;
  DeviceBuffer counts_;
  int64_t steps_ = 0;
};

}  // namespace outrider::cuda

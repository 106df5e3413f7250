// Where every weight goes in one allocation of device memory, and what has to be read for it. Made without a
// device.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "cuda/device_weights.h"
#include "cuda/weight_pieces.h"

namespace outrider::cuda {

struct WeightLayout {
  DeviceWeights weights;      // addresses; its memory is left to the caller
  int64_t bytes = 0;          // of the allocation
  std::vector<Piece> pieces;  // all of the weights once, in the order of the files
  std::vector<std::pair<const float*, std::vector<float>>> scales;  // where to, and what
};

// With a null base only to learn the size. Throws StartupError for what the kernels do not take, naming it.
WeightLayout lay_out(const model::Model& model, uint8_t* base, int64_t piece_bytes);

}  // namespace outrider::cuda

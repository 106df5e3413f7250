// Dummy weights made on the device: the bytes that checkpoint::write_dummy_weights() writes on the host.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "model/generated.h"

namespace outrider::cuda {

// `bytes` bytes from `from` (an address in the generated range) on; they lie in one region and are a multiple
// of 8.
void generate(const model::GeneratedWeights& weights, const std::byte* from, int64_t bytes, uint8_t* to,
              cudaStream_t stream);

}  // namespace outrider::cuda

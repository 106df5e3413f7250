// Dummy weights made on the device: the bytes that checkpoint::write_dummy_weights() writes on the host.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "model/generated.h"

namespace outrider::cuda {

// `lines` lines of line_bytes bytes from `from` (an address in the generated range) on, `stride` bytes apart;
// compact in `to`. All of them lie in one region; sizes are multiples of 8.
void generate(const model::GeneratedWeights& weights, const std::byte* from, int64_t line_bytes,
              int64_t stride, int64_t lines, uint8_t* to, cudaStream_t stream);

}  // namespace outrider::cuda

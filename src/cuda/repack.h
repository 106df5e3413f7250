// Bytes on their way into a weight matrix.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace outrider::cuda {

// to[place(r)][c] = from[c][r] for elements of 1 or 2 bytes; from [cols][rows] compact, rows of `to` are
// `to_stride` elements apart. place(r) = r, or, with `spread`, r / 8 * 16 + r % 8: every other run of
// kGateRows rows is left out.
void transpose(int element_bytes, const void* from, int rows, int cols, void* to, int64_t to_stride,
               bool spread, cudaStream_t stream);

}  // namespace outrider::cuda

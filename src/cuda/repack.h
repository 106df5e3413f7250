// Bytes on their way into a weight matrix.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/weight_image.h"

namespace outrider::cuda {

// Where rows of a matrix go.
struct Place {
  uint8_t* base = nullptr;  // device
  int64_t row_bytes = 0;
  bool image = false;   // weight_image.h; else row by row
  bool gated = false;   // every other run of kGateRows rows,
  bool second = false;  // and not the first but the second one of each two

#ifdef __CUDACC__
  __device__ uint8_t* at(int64_t row, int64_t byte) const {
    if (gated) row += (row / kGateRows + second) * kGateRows;
    return base + (image ? image_offset(row, byte, row_bytes) : row * row_bytes + byte);
  }
#endif
};

// Rows [first, first + rows) of a matrix, compact in `from`, into an image. Device memory both.
void copy_rows(const void* from, int64_t first, int64_t rows, const Place& to, cudaStream_t stream);

// Columns [first, first + cols) of a matrix with elements of 1 or 2 bytes: from [cols][rows] compact.
void copy_columns(int element_bytes, const void* from, int64_t first, int cols, int rows, const Place& to,
                  cudaStream_t stream);

}  // namespace outrider::cuda

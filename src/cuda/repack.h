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
  bool image = false;     // weight_image.h; else row by row
  int64_t gate_rows = 0;  // of a gated matrix: so many rows of gate come first, then as many of up; else 0
  int64_t first_row = 0;  // the row of the whole that row 0 of this matrix is: up alone begins at gate_rows

#ifdef __CUDACC__
  __host__ __device__
#endif
      uint8_t*
      at(int64_t row, int64_t byte) const {
    row += first_row;
    if (gate_rows > 0) {  // the two alternate by kGateRows rows
      const int64_t up = row >= gate_rows ? 1 : 0;
      row -= up * gate_rows;
      row += (row / kGateRows + up) * kGateRows;
    }
    return base + (image ? image_offset(row, byte, row_bytes) : row * row_bytes + byte);
  }
};

// Rows [first, first + rows) of a matrix, compact in `from`, into an image. Device memory both.
void copy_rows(const void* from, int64_t first, int64_t rows, const Place& to, cudaStream_t stream);

// Columns [first, first + cols) of a matrix with elements of 1 or 2 bytes: from [cols][rows] compact.
void copy_columns(int element_bytes, const void* from, int64_t first, int cols, int rows, const Place& to,
                  cudaStream_t stream);

}  // namespace outrider::cuda

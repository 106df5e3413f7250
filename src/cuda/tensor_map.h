// Descriptors of matrices in device memory for the copy engine.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace outrider::cuda {

// Row-major [rows, row_bytes], read in boxes of `box_rows` rows by 128 bytes, stored with the 128-byte
// swizzle; rows beyond the end read as zeros. Base 16-byte aligned, row_bytes a multiple of 16. Throws
// DeviceError.
CUtensorMap make_tensor_map(const void* base, int64_t rows, int64_t row_bytes, int box_rows);

}  // namespace outrider::cuda

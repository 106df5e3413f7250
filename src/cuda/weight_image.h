// Where the elements of a weight matrix lie in device memory: kFeatureTile rows by kBlockBytes of K are 8 KB
// in one piece, with the 128-byte swizzle that the tensor cores want in shared memory, so that a copy is a
// run of bytes. The blocks of the same rows follow each other along K, then come those of the next rows.
#pragma once

#include <cstdint>

#include "cuda/gemm.h"
#include "cuda/gemm_order.h"

namespace outrider::cuda {

inline constexpr int kImageBlockBytes = kFeatureTile * kBlockBytes;

// Offset of a row's byte; runs of 16 aligned bytes stay together. row_bytes: a multiple of kBlockBytes.
#ifdef __CUDACC__
__host__ __device__
#endif
    constexpr int64_t
    image_offset(int64_t row, int64_t byte, int64_t row_bytes) {
  const int64_t in_row = byte % kBlockBytes, chunk = in_row / 16 ^ row % 8;
  return row / kFeatureTile * kFeatureTile * row_bytes + byte / kBlockBytes * kImageBlockBytes +
         row % kFeatureTile * kBlockBytes + chunk * 16 + in_row % 16;
}

}  // namespace outrider::cuda

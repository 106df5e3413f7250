// Where each element of a page image (kv_cache.h) lies. Both K and V are laid out as wgmma reads operand A
// from shared memory, so that a bulk copy of the image is all the preparation there is.
//
// FP8 (wgmma takes K-major operands only): K [64 positions][head_dim], then V transposed, [head_dim][64
// positions]. The rows of K are permuted inside each 16, so that scores lie in the registers of the same
// threads that need them as weights of V. bf16: K, then V, each [head_dim / 64][64 positions][64 channels]; V
// is read MN-major. Rows of 128 bytes have the 128-byte swizzle, rows of 64 bytes the 64-byte swizzle.
#pragma once

#include "cuda/kv_cache.h"

namespace outrider::cuda {

// Address bits 4..6 (or 4..5) are xored with bits 7..9 (or 7..8). Tiles start at multiples of 1024 bytes.
__host__ __device__ constexpr int swizzle_128(int byte) { return byte ^ ((byte >> 3) & 0x70); }
__host__ __device__ constexpr int swizzle_64(int byte) { return byte ^ ((byte >> 3) & 0x30); }

template <model::KvDtype kDtype, int kHeadDim>
struct KvImage {
  static_assert(kHeadDim == 64 || kHeadDim == 128);
  static_assert(kDtype == model::KvDtype::kFp8E4m3 || kDtype == model::KvDtype::kBf16);
  static constexpr bool kIsFp8 = kDtype == model::KvDtype::kFp8E4m3;
  static constexpr int kElementBytes = model::bytes_of(kDtype);
  static constexpr int kPartBytes = kPagePositions * kHeadDim * kElementBytes;  // K, or V
  static constexpr int kBytes = 2 * kPartBytes;
  static constexpr int kBlockBytes = kPagePositions * 128;  // bf16: 64 channels of all positions

  // The row of K that holds a position of the page, and back.
  __host__ __device__ static constexpr int row_of(int position) {
    if (!kIsFp8) return position;
    return (position & ~15) | (position >> 1 & 1) << 3 | (position >> 2 & 3) << 1 | (position & 1);
  }
  __host__ __device__ static constexpr int position_of(int row) {
    if (!kIsFp8) return row;
    return (row & ~15) | (row >> 1 & 3) << 2 | (row >> 3 & 1) << 1 | (row & 1);
  }

  // Bytes from the start of the image; `position` counts inside the page.
  __host__ __device__ static constexpr int key_offset(int position, int channel) {
    if constexpr (kIsFp8) {
      const int byte = row_of(position) * kHeadDim + channel;
      return kHeadDim == 128 ? swizzle_128(byte) : swizzle_64(byte);
    }
    return block_offset(position, channel);
  }
  __host__ __device__ static constexpr int value_offset(int position, int channel) {
    if constexpr (kIsFp8) return kPartBytes + swizzle_64(channel * kPagePositions + position);
    return kPartBytes + block_offset(position, channel);
  }

 private:
  __host__ __device__ static constexpr int block_offset(int position, int channel) {
    return channel / 64 * kBlockBytes + swizzle_128(position * 128 + channel % 64 * 2);
  }
};

// For those who know the type at run time only: bytes of one image.
constexpr int64_t kv_image_bytes(model::KvDtype dtype, int head_dim) {
  return int64_t{2} * kPagePositions * head_dim * model::bytes_of(dtype);
}

}  // namespace outrider::cuda

// The order of a product's sum over K, the same for every tile: K is cut into segments, a segment into
// intervals of at most kIntervalBlocks blocks of kBlockBytes. The tensor cores add up an interval, starting
// from zero; intervals are added to an fp32 total of their segment, segments' totals to each other, each in
// order.
//
// FP8 products accumulate in about 14 bits inside the tensor cores: over 5120 terms in one go that would cost
// 3e-3 to 8e-3 of the result, over the 512 of an interval 1e-3.
#pragma once

namespace outrider::cuda {

inline constexpr int kBlockBytes = 128;
inline constexpr int kIntervalBlocks = 4;
inline constexpr int kMaxSplits = 3;

// First block of a segment; segment == splits: the end.
#ifdef __CUDACC__
__host__ __device__
#endif
    constexpr int
    segment_begin(int k_blocks, int splits, int segment) {
  return k_blocks * segment / splits;
}

}  // namespace outrider::cuda

// What a block of gemm_wide.cu has in shared memory, and which tile is which.
#pragma once

#include <cstdint>

#include "cuda/gemm_epilogue.cuh"
#include "cuda/gemm_mixed.h"
#include "cuda/gemm_order.h"
#include "cuda/gemm_wide.h"
#include "cuda/wgmma.cuh"

namespace outrider::cuda::wide {

inline constexpr int kWarpgroups = 2;  // that multiply
inline constexpr int kConsumers = kWarpgroups * 128;
inline constexpr int kThreads = kConsumers + 128;  // a whole warpgroup gives its registers to the consumers
inline constexpr int kCluster = 2;                 // blocks
inline constexpr int kBlockFeatures = kWarpgroups * kFeatureTile,
                     kClusterFeatures = kCluster * kBlockFeatures;
inline constexpr int kBand = 8;
inline constexpr int kWidestTokens = kWideTiles * kTokenStep;
// A thread has registers for an interval's sums and their total, and where K has segments for the total of
// those before. nvcc has to say nothing of serialized instructions: more tokens have room only where little
// is done to a total.
__host__ __device__ constexpr int widest_tile(Epilogue epilogue, bool segments) {
  return segments ? kWidestTokens * 2 / 3 : is_gated(epilogue) ? kWidestTokens : kWidestTokens - kTokenStep;
}

inline constexpr int kWeightBytes = kBlockFeatures * kBlockBytes;
__host__ __device__ constexpr int block_bytes(int tokens) { return kWeightBytes + tokens * kBlockBytes; }
inline constexpr int kMaxBlocks = 12;  // of K, in the ring at once
// Outputs of a warpgroup go to memory by way of shared memory, kTokenStep tokens at once.
inline constexpr int kScratchBytes = 2 * kTokenStep * (kFeatureTile * 2 + 16);

struct Shape {
  const uint8_t* weights;  // weight_image.h
  int groups, features, k_blocks, splits;
  const int32_t* token_begin;
  int tokens;  // where there is no token_begin
  int widest;  // tile, in tokens
  bool groups_known, mixes_first_group;
  int32_t* next_tile;
  Output output;
};

// What a block has besides Control, and the ring's part of it.
inline constexpr int kSharedBytes = 226 * 1024;
inline constexpr int kRingBytes = kSharedBytes - 1024 - kWarpgroups * kScratchBytes;
static_assert(kRingBytes >= 5 * block_bytes(kWidestTokens));

// Tokens of a tile of a group that has so many: equal ones of at most `widest`.
__host__ __device__ constexpr int width_of(int tokens, int widest) {
  const int tiles = (tokens + widest - 1) / widest;
  return tiles <= 1 ? widest : ((tokens + tiles - 1) / tiles + kTokenStep - 1) / kTokenStep * kTokenStep;
}

struct Schedule {
  int tile_begin[kMaxGroups + 1];
  int token_begin[kMaxGroups + 1];
  int width[kMaxGroups];
};

struct Place {
  int group = 0, feature = 0, token = 0;
  int outputs = 0;     // tokens that the tile writes
  int tokens = 0;      // that it multiplies: a multiple of 32
  bool alone = false;  // no other tile takes its weights
};

__device__ __forceinline__ int feature_tiles_of(int features) {
  return (features + kClusterFeatures - 1) / kClusterFeatures;
}

// By all threads; `schedule` is complete after the next barrier of the block.
__device__ __forceinline__ void make_schedule(const Shape& shape, Schedule& schedule) {
  if (threadIdx.x <= shape.groups) {
    schedule.token_begin[threadIdx.x] = shape.token_begin  ? shape.token_begin[threadIdx.x]
                                        : threadIdx.x == 0 ? 0
                                                           : shape.tokens;
  }
  __syncthreads();
  if (threadIdx.x > 0) return;
  int tiles = 0;
#pragma unroll 1
  for (int g = 0; g < shape.groups; ++g) {
    schedule.tile_begin[g] = tiles;
    const int tokens = schedule.token_begin[g + 1] - schedule.token_begin[g];
    const int width = schedule.width[g] = width_of(tokens, shape.widest);
    tiles += (tokens + width - 1) / width * feature_tiles_of(shape.features);
  }
  schedule.tile_begin[shape.groups] = tiles;
}

// The tile that is `drawn`-th.
__device__ __forceinline__ int tile_of(const Shape& shape, const Schedule& schedule, int drawn) {
  if (!shape.mixes_first_group) return drawn;
  return static_cast<int>(mixed_tile(drawn, schedule.tile_begin[1], schedule.tile_begin[shape.groups]));
}

__device__ __forceinline__ Place place_of(const Shape& shape, const Schedule& schedule, int drawn) {
  const int tile = tile_of(shape, schedule, drawn);
  Place at;
  at.group = 0;
#pragma unroll 1
  while (tile >= schedule.tile_begin[at.group + 1]) ++at.group;
  const int begin = schedule.token_begin[at.group], end = schedule.token_begin[at.group + 1];
  const int width = schedule.width[at.group], feature_tiles = feature_tiles_of(shape.features);
  const int full_tiles = (end - begin) / width;  // along the tokens
  int local = tile - schedule.tile_begin[at.group];
  if (local >= full_tiles * feature_tiles) {
    at.feature = (local - full_tiles * feature_tiles) * kClusterFeatures;
    at.token = begin + full_tiles * width;
  } else {
    const int band = local / (kBand * feature_tiles);
    local -= band * kBand * feature_tiles;
    const int band_tiles = min(kBand, full_tiles - band * kBand), feature_tile = local / band_tiles;
    at.feature = feature_tile * kClusterFeatures;
    at.token = begin + (band * kBand + local - feature_tile * band_tiles) * width;
  }
  at.outputs = min(width, end - at.token);  // the next tile's tokens are not this one's to write
  at.alone = at.outputs == end - begin;
  at.tokens = (at.outputs + kTokenStep - 1) / kTokenStep * kTokenStep;
  return at;
}

}  // namespace outrider::cuda::wide

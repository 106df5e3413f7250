// The planning and the copying threads of a block of gemm_wide.cu, and what they share with those that
// multiply.
#pragma once

#include <cstdint>

#include "cuda/async_copy.cuh"
#include "cuda/cluster.cuh"
#include "cuda/gemm_wide.h"
#include "cuda/gemm_wide_tiles.cuh"
#include "cuda/launch.cuh"
#include "cuda/weight_image.h"

namespace outrider::cuda::wide {

// Tells the cluster's second block what the first has drawn. That runs ahead by less than a ring of the
// shortest tiles, a block of K each.
constexpr int kDrawnSlots = kMaxBlocks + 2;
constexpr int kTileSlots = 3;  // one is being multiplied, the one before stored, the next copied
// A thread alone takes longer to ask for a block of K than memory takes to bring it.
constexpr int kCopiers = kWarpgroups + 1;  // of each warpgroup's weights, of the tokens

struct Control {
  Schedule schedule;
  uint64_t full[kMaxBlocks];       // barriers: copies have arrived
  uint64_t empty[kMaxBlocks];      // both blocks' consumers have read
  int used[kCopiers][kMaxBlocks];  // bytes of the ring, for each copier alone
  // What this block copies and multiplies next; no tokens: nothing more.
  Place tile[kTileSlots];
  uint64_t tile_told[kTileSlots], tile_read[kTileSlots];
  uint64_t tile_begun;  // by a copier
  int drawn[kDrawnSlots];
  uint64_t draw_arrived[kDrawnSlots];
};
static_assert(kSharedBytes + sizeof(Control) <= 227 * 1024);

__device__ __forceinline__ uint32_t at(const uint64_t& barrier) { return shared_address(&barrier); }

template <int kCount>
struct Slots {
  int slot = 0, parity = 0;
  __device__ __forceinline__ void advance() {
    if (++slot == kCount) slot = 0, parity ^= 1;
  }
};

// Blocks of K lie one behind the other in shared memory, those of a narrow tile closer; none is broken at the
// end. Copier and consumers each go through the same places.
struct Ring {
  int capacity, offset = 0;
  __device__ __forceinline__ int left() const { return capacity - offset; }
  __device__ __forceinline__ int place(int bytes) {
    if (left() < bytes) offset = 0;
    const int here = offset;
    offset += bytes;
    return here;
  }
};

// Tells which tile comes next, when the one before begins to be copied.
class Planner {
 public:
  __device__ __forceinline__ Planner(const Shape& shape, Control& control)
      : shape_(shape), control_(control), tiles_(control.schedule.tile_begin[shape.groups]) {}

  __device__ __forceinline__ void run() {
    const int rank = cluster_rank();
    int begun = 0;  // parity
#pragma unroll 1
    for (int tile = blockIdx.x / kCluster; tile < tiles_; tile = next_tile(rank)) {
      tell(place_of(shape_, control_.schedule, tile));
      barrier_wait(at(control_.tile_begun), begun);
      begun ^= 1;
      wait_for_previous();  // that draws from the same counter
      if (rank == 0) publish(atomicAdd(shape_.next_tile, 1));
    }
    tell({});
  }

 private:
  __device__ __forceinline__ void tell(const Place& tile) {
    barrier_wait(at(control_.tile_read[telling_.slot]), telling_.parity ^ 1);
    control_.tile[telling_.slot] = tile;
    barrier_arrive(at(control_.tile_told[telling_.slot]));
    telling_.advance();
  }
  // Every tile is followed by one draw; the last of them clears the counter for the next product.
  __device__ __forceinline__ void publish(int value) {
    if (value + 1 == tiles_) *shape_.next_tile = 0;
    int& drawn = control_.drawn[drawing_.slot];
    drawn = value + gridDim.x / kCluster;
    store_in_cluster(shared_address(&drawn), drawn, at(control_.draw_arrived[drawing_.slot]), 1);
  }
  __device__ __forceinline__ int next_tile(int rank) {
    if (rank > 0) {
      const uint32_t arrived = at(control_.draw_arrived[drawing_.slot]);
      barrier_arrive_expecting(arrived, sizeof(int));
      barrier_wait(arrived, drawing_.parity);
    }
    const int tile = *static_cast<volatile int*>(&control_.drawn[drawing_.slot]);
    drawing_.advance();
    return tile;
  }

  const Shape& shape_;
  Control& control_;
  const int tiles_;
  Slots<kTileSlots> telling_;
  Slots<kDrawnSlots> drawing_;
};

// Number `part` of the copying threads, each of a warp of its own. They go through the ring at their own
// pace; what can be is computed once a tile.
class Copier {
 public:
  __device__ __forceinline__ Copier(const WideTensor& tokens, const Shape& shape, Control& control,
                                    uint32_t ring_memory, int part)
      : tokens_(tokens),
        shape_(shape),
        control_(control),
        ring_memory_(ring_memory),
        part_(part),
        ring_{kRingBytes},
        free_(ring_.capacity) {}

  __device__ __forceinline__ void run() {
    if (part_ == kWarpgroups) {
      wait_for_previous();
      copy_tiles([&](const Place& tile) { go_to_tokens(tile); },
                 [&](int k, int place) { copy_tokens(k, place); });
    } else {
      copy_tiles([&](const Place& tile) { go_to_weights(tile); },
                 [&](int k, int place) { copy_weights(k, place); });
    }
  }

 private:
  template <typename Go, typename Copy>
  __device__ __forceinline__ void copy_tiles(const Go& go, const Copy& copy) {
#pragma unroll 1
    for (;;) {
      barrier_wait(at(control_.tile_told[tile_.slot]), tile_.parity);
      const Place tile = control_.tile[tile_.slot];
      if (tile.tokens == 0) break;
      barrier_arrive(at(control_.tile_read[tile_.slot]));
      tile_.advance();
      bytes_ = block_bytes(tile.tokens);
      go(tile);
#pragma unroll 1
      for (int k = 0; k < shape_.k_blocks; ++k) {
        const int place = make_room();
        copy(k, ring_memory_ + place);
        filling_.advance();
      }
    }
  }

  // Where in the ring the next block of K goes, once what lay there has been read.
  __device__ __forceinline__ int make_room() {
    const int bytes = bytes_ + (ring_.left() < bytes_ ? ring_.left() : 0);
#pragma unroll 1
    while (free_ < bytes || blocks_ == kMaxBlocks) {
      barrier_wait(at(control_.empty[oldest_.slot]), oldest_.parity);
      free_ += control_.used[part_][oldest_.slot];
      --blocks_;
      oldest_.advance();
    }
    control_.used[part_][filling_.slot] = bytes;
    free_ -= bytes;
    ++blocks_;
    return ring_.place(bytes_);
  }

  // A tile may want more features than there are: it gets some that exist twice. Weights depend on no other
  // kernel.
  __device__ __forceinline__ void go_to_weights(const Place& tile) {
    if (part_ == 0) barrier_arrive(at(control_.tile_begun));
    const int feature = min(tile.feature + cluster_rank() * kBlockFeatures + part_ * kFeatureTile,
                            shape_.features - kFeatureTile);
    weights_ =
        shape_.weights + int64_t{tile.group * shape_.features + feature} * kBlockBytes * shape_.k_blocks;
    weights_hint_ = tile.alone ? kEvictFirst : kEvictNormal;
  }
  __device__ __forceinline__ void copy_weights(int k, uint32_t to) const {
    const uint32_t full = at(control_.full[filling_.slot]);
    if (part_ == 0) barrier_arrive_expecting(full, bytes_);
    copy_bytes(to + part_ * kImageBlockBytes, weights_ + k * kImageBlockBytes, kImageBlockBytes, full,
               weights_hint_);
  }
  // This block's half of the tile's tokens, into both.
  __device__ __forceinline__ void go_to_tokens(const Place& tile) {
    const int half_tokens = tile.tokens / kCluster;
    half_ = &tokens_.half[tile.tokens / kTokenStep - 1];
    token_row_ = tile.token + cluster_rank() * half_tokens;
    token_offset_ = kWeightBytes + cluster_rank() * half_tokens * kBlockBytes;
  }
  __device__ __forceinline__ void copy_tokens(int k, uint32_t to) const {
    copy_box_to_cluster(to + token_offset_, half_, k * kBlockBytes, token_row_,
                        at(control_.full[filling_.slot]), (1 << kCluster) - 1, kEvictNormal);
  }

  const WideTensor& tokens_;
  const Shape& shape_;
  Control& control_;
  const uint32_t ring_memory_;
  const int part_;
  Ring ring_;
  int free_, blocks_ = 0;  // bytes of the ring, and blocks in it
  Slots<kMaxBlocks> filling_, oldest_;
  Slots<kTileSlots> tile_;
  int bytes_ = 0;                     // of a block of K
  const uint8_t* weights_ = nullptr;  // of the tile, from k = 0 on
  uint64_t weights_hint_ = kEvictNormal;
  const CUtensorMap* half_ = nullptr;  // for half of the tile's tokens
  int token_row_ = 0, token_offset_ = 0;
};

}  // namespace outrider::cuda::wide

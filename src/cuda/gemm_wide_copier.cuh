// The copying thread of a block of gemm_wide.cu, and what it shares with those that multiply.
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
constexpr int kDrawnSlots = 16;
static_assert(kDrawnSlots >= kMaxBlocks + 2);
constexpr int kTileSlots = 3;  // one is being multiplied, the one before stored

struct Control {
  Schedule schedule;
  uint64_t full[kMaxBlocks];   // barriers: copies have arrived
  uint64_t empty[kMaxBlocks];  // both blocks' consumers have read
  int used[kMaxBlocks];        // bytes of the ring, for the copying thread alone
  // What this block's consumers multiply next; no tokens: nothing more.
  Place tile[kTileSlots];
  uint64_t tile_told[kTileSlots], tile_read[kTileSlots];
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

// The copying thread of each block. It asks for 28 KB in less than 500 clocks: what can be is computed once a
// tile.
class Copier {
 public:
  __device__ __forceinline__ Copier(const WideTensor& tokens, const Shape& shape, Control& control,
                                    uint32_t ring_memory)
      : tokens_(tokens),
        shape_(shape),
        control_(control),
        ring_memory_(ring_memory),
        tiles_(control.schedule.tile_begin[shape.groups]),
        ring_{ring_bytes(shape.splits)},
        free_(ring_.capacity) {}

  __device__ __forceinline__ void run() {
    const int rank = cluster_rank();
    bool first = true;
#pragma unroll 1
    for (int tile = blockIdx.x / kCluster; tile < tiles_; tile = next_tile(rank)) {
      const Place at = place_of(shape_, control_.schedule, tile);
      tell(at);
      go_to_weights(at.group, at.feature + rank * kBlockFeatures);
      const int half_tokens = at.tokens / kCluster;
      half_ = &tokens_.half[at.tokens / kTokenStep - 1];
      token_row_ = at.token + rank * half_tokens;
      token_offset_ = kWeightBytes + rank * half_tokens * kBlockBytes;
      bytes_ = block_bytes(at.tokens);
      weights_hint_ = at.alone ? kEvictFirst : kEvictNormal;
      int value = 0, k = 0;
      if (first) {  // weights depend on no other kernel
        first = false;
        const Slots<kMaxBlocks> begin = filling_;
        const int ahead = min(min(kMaxBlocks, ring_.capacity / bytes_), shape_.k_blocks);
#pragma unroll 1
        for (; k < ahead; ++k) {
          copy_weights(k, make_room());
          filling_.advance();
        }
        filling_ = begin;
        wait_for_previous();
#pragma unroll 1
        for (int i = 0; i < ahead; ++i) {
          copy_tokens(i, i * bytes_);
          filling_.advance();
        }
      }
      if (rank == 0) value = atomicAdd(shape_.next_tile, 1);  // asked for now, and here when it is used
      const int half = max(k, shape_.k_blocks / 2);
#pragma unroll 1
      for (; k < shape_.k_blocks; ++k) {
        if (k == half && rank == 0) publish(value);
        const int place = make_room();
        copy_weights(k, place);
        copy_tokens(k, place);
        filling_.advance();
      }
      if (half == shape_.k_blocks && rank == 0) publish(value);
    }
    tell({});
  }

 private:
  // Where in the ring the next block of K goes, once what lay there has been read.
  __device__ __forceinline__ int make_room() {
    const int bytes = bytes_ + (ring_.left() < bytes_ ? ring_.left() : 0);
#pragma unroll 1
    while (free_ < bytes || blocks_ == kMaxBlocks) {
      barrier_wait(at(control_.empty[oldest_.slot]), oldest_.parity);
      free_ += control_.used[oldest_.slot];
      --blocks_;
      oldest_.advance();
    }
    control_.used[filling_.slot] = bytes;
    free_ -= bytes;
    ++blocks_;
    return ring_.place(bytes_);
  }
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

  // A tile may want more features than there are: it gets some that exist twice.
  __device__ __forceinline__ void go_to_weights(int group, int feature) {
#pragma unroll
    for (int i = 0; i < kWarpgroups; ++i) {
      const int f = min(feature + i * kFeatureTile, shape_.features - kFeatureTile);
      weights_[i] = shape_.weights + int64_t{group * shape_.features + f} * kBlockBytes * shape_.k_blocks;
    }
  }
  __device__ __forceinline__ void copy_weights(int k, int place) const {
    const uint32_t full = at(control_.full[filling_.slot]);
    barrier_arrive_expecting(full, bytes_);
#pragma unroll
    for (int i = 0; i < kWarpgroups; ++i) {
      copy_bytes(ring_memory_ + place + i * kImageBlockBytes, weights_[i] + k * kImageBlockBytes,
                 kImageBlockBytes, full, weights_hint_);
    }
  }
  __device__ __forceinline__ void copy_tokens(int k, int place) const {
    copy_box_to_cluster(ring_memory_ + place + token_offset_, half_, k * kBlockBytes, token_row_,
                        at(control_.full[filling_.slot]), (1 << kCluster) - 1, kEvictNormal);
  }

  const WideTensor& tokens_;
  const Shape& shape_;
  Control& control_;
  const uint32_t ring_memory_;
  const int tiles_;
  Ring ring_;
  int free_, blocks_ = 0;  // bytes of the ring, and blocks in it
  Slots<kMaxBlocks> filling_, oldest_;
  Slots<kTileSlots> telling_;
  Slots<kDrawnSlots> drawing_;
  const uint8_t* weights_[kWarpgroups];  // of the tile, from k = 0 on
  uint64_t weights_hint_ = kEvictNormal;
  const CUtensorMap* half_ = nullptr;  // for this block's half of the tile's tokens
  int token_row_ = 0, token_offset_ = 0, bytes_ = 0;
};

}  // namespace outrider::cuda::wide

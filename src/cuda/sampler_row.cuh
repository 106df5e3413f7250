// A row of values held by a cluster of blocks, block r with the ids from r * slice on, and what the blocks
// find out together: sums, the largest value, the place where a sum over the ids passes a target. All sums
// are of integers, so that no order of adding matters.
#pragma once

#include <cuda_runtime.h>

#include <cfloat>
#include <cstdint>
#include <limits>

#include "cuda/cluster.cuh"
#include "cuda/sampler_state.h"

namespace outrider::cuda::row {

inline constexpr int kThreads = 384;
inline constexpr int kWarps = kThreads / 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr float kMasked = -std::numeric_limits<float>::infinity();

// Unsigned integers in the order of the floats. -0.0 must have become 0.0.
__device__ __forceinline__ uint32_t key_of(float x) {
  const uint32_t bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float value_of(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// The smallest key in [low, high] that `holds`, which is false below some key and true from there on, `high`
// included. A warp together: a 32nd of the interval is left after each of at most seven rounds.
template <typename Predicate>
__device__ uint32_t lowest_key(uint32_t low, uint32_t high, Predicate holds) {
  const uint32_t lane = threadIdx.x % 32;
  while (low < high) {
    const uint32_t step = (high - low) / 32 + 1;
    const uint32_t room = high - low;
    const uint32_t probe = lane * uint64_t{step} < room ? low + lane * step : high;
    const unsigned found = __ballot_sync(kAllLanes, holds(value_of(probe)));
    if (found == 0) {
      low += 31 * step + 1;  // the last probe was below `high`, or it would hold
    } else {
      const int first = __ffs(found) - 1;
      high = __shfl_sync(kAllLanes, probe, first);
      if (first > 0) low = __shfl_sync(kAllLanes, probe, first - 1) + 1;
    }
  }
  return low;
}

// Of the lanes up to this one.
__device__ __forceinline__ uint64_t inclusive_scan(uint64_t value) {
  for (int offset = 1; offset < 32; offset *= 2) {
    const uint64_t before = __shfl_up_sync(kAllLanes, value, offset);
    if (static_cast<int>(threadIdx.x % 32) >= offset) value += before;
  }
  return value;
}

// Static shared memory of a block. Fields that peers write have one writer between two cluster_syncs.
struct Scratch {
  uint64_t warps[kWarps];
  uint64_t shares[2][kRowBlocks];  // of each block, in turns
  uint64_t picked_before, picked_amount;
  int32_t picked_bin;
  int32_t located;
  int32_t emitted;  // block 0's is the cluster's
};

struct Shares {
  uint64_t total = 0;
  uint64_t before = 0;  // of the blocks before this one
  uint64_t own = 0;
};

struct Sum {
  __device__ uint64_t operator()(uint64_t a, uint64_t b) const { return a + b; }
};
struct Max {
  __device__ uint64_t operator()(uint64_t a, uint64_t b) const { return a > b ? a : b; }
};

// The threads of a cluster. Every method is called by all of them.
class Team {
 public:
  __device__ explicit Team(Scratch& scratch) : scratch_(scratch), rank_(cluster_rank()) {}

  __device__ int rank() const { return rank_; }
  __device__ Scratch& scratch() { return scratch_; }

  // Each thread's value, added up. Leaves the warps' sums in scratch().warps until the next call.
  __device__ Shares sum(uint64_t value) {
    const uint64_t* shares = gather(value, Sum());
    Shares out;
    for (int i = 0; i < kRowBlocks; ++i) {
      if (i < rank_) out.before += shares[i];
      if (i == rank_) out.own = shares[i];
      out.total += shares[i];
    }
    return out;
  }
  __device__ uint64_t max(uint64_t value) {
    const uint64_t* shares = gather(value, Max());
    uint64_t out = 0;
    for (int i = 0; i < kRowBlocks; ++i) out = shares[i] > out ? shares[i] : out;
    return out;
  }

 private:
  // What one block wrote into shares_ in turn n is read before turn n + 1 ends, and written again in n + 2.
  template <typename Op>
  __device__ const uint64_t* gather(uint64_t value, Op op) {
    for (int offset = 16; offset > 0; offset /= 2) {
      value = op(value, __shfl_xor_sync(kAllLanes, value, offset));
    }
    if (threadIdx.x % 32 == 0) scratch_.warps[threadIdx.x / 32] = value;
    __syncthreads();
    const int turn = turn_;
    turn_ ^= 1;
    if (threadIdx.x < kRowBlocks) {
      uint64_t block = scratch_.warps[0];
      for (int warp = 1; warp < kWarps; ++warp) block = op(block, scratch_.warps[warp]);
      *peer(&scratch_.shares[turn][rank_], threadIdx.x) = block;
    }
    cluster_sync();
    return scratch_.shares[turn];
  }

  Scratch& scratch_;
  int rank_;
  int turn_ = 0;
};

// This block's part of the row.
struct Slice {
  float* values = nullptr;  // shared memory
  int first = 0;            // id of values[0]
  int size = 0;
  int share = 0;  // the size of all slices but the last ones
};

// Which tokens are left: those above `edge`, and of those equal to it the ids up to `last_tie`. At first all
// that are not masked.
struct Cut {
  float edge = -FLT_MAX;
  int32_t last_tie = INT32_MAX;
  __device__ bool keeps(float x, int32_t id) const { return x > edge || (x == edge && id <= last_tie); }
};
__device__ inline Cut at_least(float edge) { return {edge, INT32_MAX}; }

// exp(x - max) with x scaled by 1 / temperature, as an integer.
struct Weigher {
  float max = 0.0f;
  float scale = 0.0f;  // log2(e) / temperature
  __device__ float distance(float x) const { return fminf(max - x, FLT_MAX) * scale; }  // powers of two below
  __device__ uint64_t weight_at(float distance) const {
    return __float2ull_rn(exp2f(-distance) * kWeightOne);
  }
  __device__ uint64_t operator()(float x) const { return weight_at(distance(x)); }
};

// The id at which the sum of `weight(x, id)` in order of the ids first exceeds `target(total)`, which must be
// less than the total; -1 where the total is 0. Each warp adds up a run of the slice; in the warp that holds
// the target each lane then takes a run of that, and at last the warp a lane's.
template <typename Weight, typename Target>
__device__ int32_t locate(Team& team, const Slice& slice, Weight weight, Target target) {
  Scratch& scratch = team.scratch();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int run = (slice.size + kWarps - 1) / kWarps;
  const int begin = min(warp * run, slice.size), end = min(begin + run, slice.size);
  uint64_t sum = 0;
#pragma unroll 4
  for (int i = begin + lane; i < end; i += 32) sum += weight(slice.values[i], slice.first + i);
  const Shares shares = team.sum(sum);
  if (shares.total == 0) return -1;

  uint64_t goal = target(shares.total);
  if (goal >= shares.before && goal < shares.before + shares.own) {
    goal -= shares.before;
    for (int i = 0; i < warp; ++i) {
      if (scratch.warps[i] > goal) {  // reached before this warp's run
        goal = ~uint64_t{0};
        break;
      }
      goal -= scratch.warps[i];
    }
    if (scratch.warps[warp] > goal) {  // one warp
      const int part = (end - begin + 31) / 32;
      const int from = min(begin + lane * part, end), to = min(from + part, end);
      uint64_t own = 0;
      for (int i = from; i < to; ++i) own += weight(slice.values[i], slice.first + i);
      const uint64_t upto = inclusive_scan(own);
      // The whole warp over the run of the one lane that passes the goal.
      const int source = __ffs(__ballot_sync(kAllLanes, upto > goal)) - 1;
      uint64_t passed = __shfl_sync(kAllLanes, upto - own, source);
      const int last = __shfl_sync(kAllLanes, to, source);
      int32_t found = -1;
      for (int base = __shfl_sync(kAllLanes, from, source); base < last && found < 0; base += 32) {
        const int i = base + lane;
        uint64_t sum_to = inclusive_scan(i < last ? weight(slice.values[i], slice.first + i) : 0);
        const unsigned beyond = __ballot_sync(kAllLanes, passed + sum_to > goal);
        if (beyond != 0) found = slice.first + base + __ffs(beyond) - 1;
        passed += __shfl_sync(kAllLanes, sum_to, 31);
      }
      if (lane < kRowBlocks) *peer(&scratch.located, lane) = found;
    }
  }
  cluster_sync();
  return scratch.located;
}

}  // namespace outrider::cuda::row

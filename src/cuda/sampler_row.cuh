// A row of values held by a cluster of blocks, block r with the ids from r * slice on, and what the blocks
// find out together: sums, the largest value, the place where a sum over the ids passes a target. All sums
// are of integers, so that no order of adding matters.
//
// A pass over a slice goes by runs of 128 ids, each a warp's: one load of 16 bytes a lane.
#pragma once

#include <cuda_runtime.h>

#include <cfloat>
#include <cstdint>
#include <limits>

#include "cuda/cluster.cuh"
#include "cuda/sampler_state.h"

namespace outrider::cuda::row {

// Two blocks an SM: 64 registers a thread.
inline constexpr int kThreads = 512;
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

// Sums of a block below 2^64 from 32-bit atomics, which are native in shared memory where 64-bit ones are
// not.
template <int kSize>
struct Sums {
  uint32_t low[kSize];
  uint32_t high[kSize];

  __device__ void clear() {
    for (int i = threadIdx.x; i < kSize; i += kThreads) low[i] = high[i] = 0;
  }
  __device__ uint64_t get(int at) const { return low[at] | uint64_t{high[at]} << 32; }
  __device__ void set(int at, uint64_t amount) {
    low[at] = static_cast<uint32_t>(amount);
    high[at] = static_cast<uint32_t>(amount >> 32);
  }
  __device__ void add(int at, uint64_t amount) { carry(at, amount, add_low(at, amount)); }
  // In two parts, so that the answers of several additions may be on their way at once.
  __device__ uint32_t add_low(int at, uint64_t amount) {
    return atomicAdd(&low[at], static_cast<uint32_t>(amount));
  }
  __device__ void carry(int at, uint64_t amount, uint32_t old) {
    const auto part = static_cast<uint32_t>(amount);
    const uint32_t carried = static_cast<uint32_t>(amount >> 32) + (old + part < old ? 1 : 0);
    if (carried > 0) atomicAdd(&high[at], carried);
  }
  __device__ void count(int at) { atomicAdd(&low[at], 1u); }
};

inline constexpr int kRun = 128;
inline constexpr int kMaxRuns = (kMaxRowSlice + kRun - 1) / kRun;
static_assert(kMaxRuns <= kThreads);
inline constexpr int kMaxCandidates = 384;  // of a block

// What a block tells its cluster about the tokens above a bracket, below it, and in it.
struct Split {
  uint64_t above, rest;  // sums of weights; those in the bracket count as rest
  int32_t candidates;    // in the bracket; more than kMaxCandidates: not all are listed
};

// Static shared memory of a block. Fields that peers write have one writer between two cluster_syncs.
struct Scratch {
  uint64_t warps[kWarps];
  uint64_t shares[2][kRowBlocks];  // of each block, in turns
  uint64_t picked_before, picked_amount;
  int32_t picked_bin;
  int32_t located;
  int32_t emitted;  // block 0's is the cluster's

  Sums<kMaxRuns> runs;  // of the last pass that summed
  // The nucleus.
  Split splits[kRowBlocks];
  uint64_t above[kWarps], rest[kWarps];
  float groups[64];                 // weight of 32 bins each
  float low, high;                  // the bracket
  int32_t num_listed;               // candidates, listed or not
  uint16_t listed[kMaxCandidates];  // their places in the slice
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

// This block's part of the row. Up to the next multiple of 4 it is filled with kMasked.
struct Slice {
  float* values = nullptr;  // shared memory
  int first = 0;            // id of values[0]
  int size = 0;
  int share = 0;  // the size of all slices but the last ones

  __device__ int runs() const { return (size + kRun - 1) / kRun; }
  // This lane's four values of a run.
  __device__ float4 quad(int run) const {
    const int at = kRun * run + 4 * static_cast<int>(threadIdx.x % 32);
    return at < size ? *reinterpret_cast<const float4*>(values + at)
                     : make_float4(kMasked, kMasked, kMasked, kMasked);
  }
};

// Which tokens are left: those above `edge`, and of those equal to it the ids up to `last_tie`. At first all
// that are not masked.
struct Cut {
  float edge = -FLT_MAX;
  int32_t last_tie = INT32_MAX;
  __device__ bool keeps(float x, int32_t id) const { return x > edge || (x == edge && id <= last_tie); }
};
__device__ inline Cut at_least(float edge) { return {edge, INT32_MAX}; }

// A whole number as coarse * 2^13 + fine, whose parts are added up in 32 bits.
struct Parts {
  uint32_t coarse = 0, fine = 0;
  __device__ void add(const Parts& other) { coarse += other.coarse, fine += other.fine; }
  __device__ uint64_t whole() const { return uint64_t{coarse} * 8192u + fine; }
};

// exp(x - max) with x scaled by 1 / temperature, as an integer.
struct Weigher {
  float max = 0.0f;
  float scale = 0.0f;  // log2(e) / temperature
  __device__ float distance(float x) const { return fminf(max - x, FLT_MAX) * scale; }  // powers of two below
  // The next whole number to 2^-distance * kWeightOne, which is at most 2^36, without a conversion to 64
  // bits: those take as long as eight additions. A float from 2^23 on holds a whole number in its lowest
  // bits.
  __device__ Parts parts_at(float distance) const {
    constexpr float kWhole = 0x1p23f;
    float weight;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(weight) : "f"(-distance));
    weight *= kWeightOne;
    const float coarse = __fmaf_rd(weight, 0x1p-13f, kWhole);
    const float fine = __fadd_rn(__fmaf_rn(__fadd_rn(coarse, -kWhole), -0x1p13f, weight), kWhole);
    return {__float_as_uint(coarse) - __float_as_uint(kWhole),
            __float_as_uint(fine) - __float_as_uint(kWhole)};
  }
  __device__ Parts parts(float x) const { return parts_at(distance(x)); }
  __device__ uint64_t weight_at(float distance) const { return parts_at(distance).whole(); }
  __device__ uint64_t operator()(float x) const { return weight_at(distance(x)); }
};

// Adds up `weight(x, id)`, Parts of at most 2^23 and 2^13, by runs.
template <typename Weight>
__device__ void sum_runs(Team& team, const Slice& slice, Weight weight) {
  const int lane = threadIdx.x % 32;
#pragma unroll 2
  for (int run = threadIdx.x / 32; run < slice.runs(); run += kWarps) {
    const float4 x = slice.quad(run);
    const int id = slice.first + kRun * run + 4 * lane;
    Parts sum = weight(x.x, id);
    sum.add(weight(x.y, id + 1));
    sum.add(weight(x.z, id + 2));
    sum.add(weight(x.w, id + 3));
    sum = {__reduce_add_sync(kAllLanes, sum.coarse), __reduce_add_sync(kAllLanes, sum.fine)};
    if (lane == 0) team.scratch().runs.set(run, sum.whole());
  }
  __syncthreads();
}

// The id at which the sum of `weight(x, id)`, a whole number, in order of the ids first exceeds
// `target(total)`, which must be less than the total; -1 where the total is 0. The runs' sums are in place:
// first the block is found, then the run, then the token.
template <typename Weight, typename Target>
__device__ int32_t locate_in_runs(Team& team, const Slice& slice, Weight weight, Target target) {
  Scratch& scratch = team.scratch();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int mine = threadIdx.x;
  const uint64_t own = mine < slice.runs() ? scratch.runs.get(mine) : 0;
  const Shares shares = team.sum(own);
  if (shares.total == 0) return -1;

  uint64_t goal = target(shares.total);
  if (goal >= shares.before && goal < shares.before + shares.own) {
    goal -= shares.before;
    for (int i = 0; i < warp; ++i) {
      if (scratch.warps[i] > goal) {  // reached before this warp's runs
        goal = ~uint64_t{0};
        break;
      }
      goal -= scratch.warps[i];
    }
    if (scratch.warps[warp] > goal) {  // one warp
      uint64_t upto = inclusive_scan(own);
      const int source = __ffs(__ballot_sync(kAllLanes, upto > goal)) - 1;
      goal -= __shfl_sync(kAllLanes, upto - own, source);
      const int run = 32 * warp + source;
      const float4 quad = slice.quad(run);
      const float x[4] = {quad.x, quad.y, quad.z, quad.w};
      const int id = slice.first + kRun * run + 4 * lane;
      uint64_t weights[4], sum = 0;
      for (int i = 0; i < 4; ++i) sum += weights[i] = weight(x[i], id + i);
      upto = inclusive_scan(sum) - sum;
      int32_t found = -1;
      for (int i = 0; i < 4; ++i) {
        if (upto <= goal && goal < upto + weights[i]) found = id + i;
        upto += weights[i];
      }
      found = __reduce_max_sync(kAllLanes, found);
      if (lane < kRowBlocks) *peer(&scratch.located, lane) = found;
    }
  }
  cluster_sync();
  return scratch.located;
}

// The place-th token, from 0 on, whose value is x, which may be kMasked as the slice's end is.
__device__ __noinline__ int32_t locate_equal(Team& team, const Slice slice, float x, uint64_t place) {
  const auto counts = [x, end = slice.first + slice.size](float y, int32_t id) { return y == x && id < end; };
  sum_runs(team, slice, [counts](float y, int32_t id) { return Parts{0, counts(y, id) ? 1u : 0u}; });
  return locate_in_runs(
      team, slice, [counts](float y, int32_t id) { return uint64_t{counts(y, id)}; },
      [place](uint64_t) { return place; });
}

}  // namespace outrider::cuda::row

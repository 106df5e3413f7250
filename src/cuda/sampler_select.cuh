// The value at which a sum over the tokens from the best one down reaches a target: the k-th largest value
// (counts) or the edge of the nucleus (weights). Exact, without sorting: a histogram of at most 1024 bins
// over the values narrows the interval to one bin, whose histogram narrows it again, until one value is left.
// The first histogram has bins of equal width in log-probability, later ones in the values' bits: three
// passes over shared memory for most rows, five at worst.
#pragma once

#include "cuda/sampler_row.cuh"

namespace outrider::cuda::row {

inline constexpr int kBins = 1024;
// The first histogram ends where weights round to 0; its last bin holds everything from there on.
inline constexpr float kBinsPerOctave = (kBins - 1) / 38.0f;

// Sums of a block below 2^64 from 32-bit atomics, which are native in shared memory where 64-bit ones are
// not.
struct Histogram {
  uint32_t low[kBins];
  uint32_t high[kBins];

  __device__ void clear() {
    for (int i = threadIdx.x; i < kBins; i += kThreads) low[i] = high[i] = 0;
  }
  __device__ void add(int bin, uint64_t amount) {
    const auto part = static_cast<uint32_t>(amount);
    const uint32_t old = atomicAdd(&low[bin], part);
    const uint32_t carried = static_cast<uint32_t>(amount >> 32) + (old + part < old ? 1 : 0);
    if (carried > 0) atomicAdd(&high[bin], carried);
  }
  __device__ void count(int bin) { atomicAdd(&low[bin], 1u); }
};

struct Picked {
  bool found = false;
  int bin = 0;
  uint64_t before = 0;  // sum of the better bins
  uint64_t amount = 0;  // of the bin
};

// Adds up the blocks' histograms, the best values in bin 0, and finds the bin that lifts `before` to the
// goal. Each block takes an eighth of the bins. goal(total) is asked once; 0 means that nothing is looked
// for.
template <typename Goal>
__device__ Picked pick_bin(Team& team, Histogram& histogram, uint64_t before, Goal goal) {
  constexpr int kShare = kBins / kRowBlocks;
  static_assert(kShare % 32 == 0 && kShare <= kThreads);
  Scratch& scratch = team.scratch();
  cluster_sync();  // the histograms are complete
  const int bin = team.rank() * kShare + static_cast<int>(threadIdx.x);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint64_t amount = 0;
  if (threadIdx.x < kShare) {
    for (int block = 0; block < kRowBlocks; ++block) {
      const Histogram* theirs = peer(&histogram, block);
      amount += theirs->low[bin] | uint64_t{theirs->high[bin]} << 32;
    }
  }
  const Shares shares = team.sum(amount);
  const uint64_t wanted = goal(before + shares.total);
  Picked picked;
  picked.found = wanted > before && wanted <= before + shares.total;
  if (!picked.found) return picked;

  uint64_t upto = amount;
  for (int offset = 1; offset < 32; offset *= 2) {
    const uint64_t below = __shfl_up_sync(kAllLanes, upto, offset);
    if (lane >= offset) upto += below;
  }
  for (int i = 0; i < warp && i < kShare / 32; ++i) upto += scratch.warps[i];
  upto += before + shares.before;
  if (threadIdx.x < kShare && upto >= wanted && upto - amount < wanted) {  // one thread of the cluster
    for (int block = 0; block < kRowBlocks; ++block) {
      Scratch* theirs = peer(&scratch, block);
      theirs->picked_bin = bin;
      theirs->picked_before = upto - amount;
      theirs->picked_amount = amount;
    }
  }
  cluster_sync();
  picked.bin = scratch.picked_bin;
  picked.before = scratch.picked_before;
  picked.amount = scratch.picked_amount;
  return picked;
}

struct Boundary {
  bool found = false;
  float value = kMasked;
  uint64_t before = 0;  // sum of all larger values
  uint64_t amount = 0;  // sum of those equal to it
};

__device__ __forceinline__ int first_bin(const Weigher& weigher, float x) {
  return static_cast<int>(fminf(weigher.distance(x) * kBinsPerOctave, kBins - 1.0f));
}

// Among the tokens that `cut`, an at_least(), keeps. Where goal(total) is more than the total nothing is
// found. kByWeight: sums of weights; otherwise counts.
template <bool kByWeight, typename Goal>
__device__ Boundary find_boundary(Team& team, const Slice& slice, Histogram& histogram,
                                  const Weigher& weigher, const Cut& cut, Goal goal) {
  histogram.clear();
  __syncthreads();
  uint64_t rest = 0;  // of the last bin, which masked tokens may crowd
#pragma unroll 4
  for (int i = threadIdx.x; i < slice.size; i += kThreads) {
    const float x = slice.values[i];
    if (!cut.keeps(x, slice.first + i)) continue;
    const float distance = weigher.distance(x);
    const int bin = static_cast<int>(fminf(distance * kBinsPerOctave, kBins - 1.0f));
    if (bin == kBins - 1) {
      rest += kByWeight ? weigher.weight_at(distance) : 1;
    } else if (kByWeight) {
      histogram.add(bin, weigher.weight_at(distance));
    } else {
      histogram.count(bin);
    }
  }
  for (int offset = 16; offset > 0; offset /= 2) rest += __shfl_xor_sync(kAllLanes, rest, offset);
  if (threadIdx.x % 32 == 0 && rest > 0) histogram.add(kBins - 1, rest);

  uint64_t wanted = 0;
  Picked picked = pick_bin(team, histogram, 0, [&](uint64_t total) { return wanted = goal(total); });
  Boundary result;
  if (!picked.found) return result;

  const uint32_t floor = key_of(cut.edge), top = key_of(weigher.max);
  const int bin = picked.bin;
  uint32_t high = top, low = floor;
  if (bin > 0) {
    high = lowest_key(floor, top, [&](float x) { return first_bin(weigher, x) < bin; }) - 1;
  }
  if (bin < kBins - 1) {
    low = lowest_key(floor, high, [&](float x) { return first_bin(weigher, x) <= bin; });
  }
  while (low < high) {
    const int width = 32 - __clz(static_cast<int>(high - low));  // bits
    const int shift = width > 10 ? width - 10 : 0;
    histogram.clear();
    __syncthreads();
#pragma unroll 4
    for (int i = threadIdx.x; i < slice.size; i += kThreads) {
      const float x = slice.values[i];
      const uint32_t below = high - key_of(x);  // wraps where x is above
      if (below > high - low) continue;
      const int at = static_cast<int>(below >> shift);
      if (kByWeight) {
        histogram.add(at, weigher(x));
      } else {
        histogram.count(at);
      }
    }
    picked = pick_bin(team, histogram, picked.before, [&](uint64_t) { return wanted; });
    const uint64_t down = uint64_t{static_cast<uint32_t>(picked.bin)} << shift;
    const uint32_t span = (1u << shift) - 1;
    high -= static_cast<uint32_t>(down);
    if (high - low > span) low = high - span;
  }
  result.found = true;
  result.value = value_of(low);
  result.before = picked.before;
  result.amount = picked.amount;
  return result;
}

}  // namespace outrider::cuda::row

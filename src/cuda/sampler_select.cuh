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

using Histogram = Sums<kBins>;

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
  const int warp = threadIdx.x / 32;
  uint64_t amount = 0;
  if (threadIdx.x < kShare) {
    for (int block = 0; block < kRowBlocks; ++block) {
      amount += peer(&histogram, block)->get(bin);
    }
  }
  const Shares shares = team.sum(amount);
  const uint64_t wanted = goal(before + shares.total);
  Picked picked;
  picked.found = wanted > before && wanted <= before + shares.total;
  if (!picked.found) return picked;

  uint64_t upto = inclusive_scan(amount);
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
__device__ __noinline__ Boundary find_boundary(Team& team, const Slice slice, Histogram& histogram,
                                               const Weigher weigher, const Cut cut, Goal goal) {
  histogram.clear();
  __syncthreads();
  uint64_t rest = 0;  // of the last bin, which masked tokens may crowd
  constexpr int kUnroll = 4;
  for (int base = threadIdx.x; base < slice.size; base += kUnroll * kThreads) {
    int bin[kUnroll];
    uint64_t amount[kUnroll];
    uint32_t old[kUnroll];
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      const int i = base + j * kThreads;
      const float x = i < slice.size ? slice.values[i] : kMasked;
      const float distance = weigher.distance(x);
      bin[j] = static_cast<int>(fminf(distance * kBinsPerOctave, kBins - 1.0f));
      amount[j] = kByWeight ? weigher.weight_at(distance) : 1;
      if (i >= slice.size || !cut.keeps(x, slice.first + i)) amount[j] = 0;
      if (bin[j] == kBins - 1) rest += amount[j], amount[j] = 0;
    }
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      if (amount[j] > 0) {
        if (kByWeight)
          old[j] = histogram.add_low(bin[j], amount[j]);
        else
          histogram.count(bin[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      if (kByWeight && amount[j] > 0) histogram.carry(bin[j], amount[j], old[j]);
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

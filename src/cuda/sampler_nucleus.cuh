// The edge of the nucleus in two passes over shared memory, for rows that leave few tokens near it; for
// others find_boundary() of sampler_select.cuh. The edge is exact in both.
//
// The first pass makes a histogram over log-probability with one atomic a token: each bin counts its tokens,
// each by its weight relative to the bin's largest, which needs no exponential and fits 32 bits. The edge
// lies in the bin where the bins' sum passes p, or so close to the bin's end that rounding could have moved
// it: a bracket. The second pass adds up exact weights, by runs what lies above the bracket, and lists the
// tokens inside. Then every block fetches the lists of all, a few hundred tokens in registers, and narrows
// the bracket to one value by itself. The runs' sums and what is kept of the list are what the draw needs.
#pragma once

#include "cuda/sampler_select.cuh"

namespace outrider::cuda::row {

inline constexpr int kFineBins = 2048;
inline constexpr float kFinePerOctave = (kFineBins - 1) / 38.0f;  // from there on weights are 0
inline constexpr int kGroups = kFineBins / 32;
static_assert(kGroups == 64);  // two a lane
// A bin's sum in units of 2^-16 of its largest weight: of 26 000 tokens less than 2^31.
inline constexpr float kBinUnit = 0x1p16f;
// Of p: farther than the histogram's rounding and the chord below may move a sum. A bracket that misses the
// edge costs time, nothing else.
inline constexpr float kSumSlack = 0x1p-15f;

struct FineHistogram {
  uint32_t amounts[kFineBins];

  __device__ void clear() {
    auto* quads = reinterpret_cast<uint4*>(amounts);
    for (int i = threadIdx.x; i < kFineBins / 4; i += kThreads) quads[i] = make_uint4(0, 0, 0, 0);
  }
  // A token `place` bins below the best.
  __device__ void add(float place, bool kept) {
    constexpr float kWhole = 0x1p23f;
    constexpr float kFall = 0.0127850f;  // 1 - 2^(-1 / kFinePerOctave): the chord of 2^-x over a bin
    const float bin = __fadd_rd(place, kWhole);
    const float within = place - __fadd_rn(bin, -kWhole);
    const float amount = __fmaf_rn(within, -kFall * kBinUnit, kWhole + kBinUnit);
    if (kept && place < kFineBins - 1) {
      atomicAdd(&amounts[__float_as_uint(bin) - __float_as_uint(kWhole)],
                __float_as_uint(amount) - __float_as_uint(kWhole));
    }
  }
};

// One at a time.
union Histograms {
  Histogram exact;
  FineHistogram fine;
};

// The weight of this lane's bin in all blocks.
__device__ __forceinline__ float bin_weight(FineHistogram& histogram, int bin) {
  float sum = 0.0f;
#pragma unroll
  for (int block = 0; block < kRowBlocks; ++block) {
    sum += static_cast<float>(peer(&histogram, block)->amounts[bin]);
  }
  return sum * exp2f(static_cast<float>(-bin) / kFinePerOctave);
}

__device__ __forceinline__ float inclusive_scan(float value) {
  for (int offset = 1; offset < 32; offset *= 2) {
    const float before = __shfl_up_sync(kAllLanes, value, offset);
    if (static_cast<int>(threadIdx.x % 32) >= offset) value += before;
  }
  return value;
}

// The first lane whose `upto` reaches the goal; the last one where rounding leaves none.
__device__ __forceinline__ int first_reaching(float upto, float goal) {
  const unsigned reaching = __ballot_sync(kAllLanes, upto >= goal);
  return reaching == 0 ? 31 : __ffs(reaching) - 1;
}

// scratch.low, scratch.high: where the edge is likely to be. The same in all blocks.
__device__ inline void find_bracket(Team& team, const Slice& slice, FineHistogram& histogram,
                                    const Weigher& weigher, const Cut& cut, float p) {
  Scratch& scratch = team.scratch();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  histogram.clear();
  __syncthreads();
  const float scale = weigher.scale * kFinePerOctave;
#pragma unroll 2
  for (int run = warp; run < slice.runs(); run += kWarps) {
    const float4 quad = slice.quad(run);
    const float x[4] = {quad.x, quad.y, quad.z, quad.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      histogram.add(fminf((weigher.max - x[i]) * scale, kFineBins - 1.0f), x[i] >= cut.edge);
    }
  }
  cluster_sync();  // the histograms are complete

  constexpr int kGroupsPerBlock = kGroups / kRowBlocks;
  static_assert(kGroupsPerBlock <= kWarps);
  if (warp < kGroupsPerBlock) {
    const int group = team.rank() * kGroupsPerBlock + warp;
    float sum = bin_weight(histogram, 32 * group + lane);
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
    if (lane < kRowBlocks) *peer(&scratch.groups[group], lane) = sum;
  }
  cluster_sync();
  if (warp == 0) {
    const float even = scratch.groups[2 * lane], odd = scratch.groups[2 * lane + 1];
    float upto = inclusive_scan(even + odd);
    const float goal = p * __shfl_sync(kAllLanes, upto, 31);
    int source = first_reaching(upto, goal);
    float before = __shfl_sync(kAllLanes, upto - (even + odd), source);
    int group = 2 * source;
    const float first = __shfl_sync(kAllLanes, even, source);
    if (before + first < goal) before += first, ++group;

    const float own = bin_weight(histogram, 32 * group + lane);
    upto = before + inclusive_scan(own);
    source = first_reaching(upto, goal);
    if (lane == source) {
      const int bin = 32 * group + source;
      const int from = bin - (goal - (upto - own) < kSumSlack * goal ? 1 : 0);
      const int to = bin + 1 + (upto - goal < kSumSlack * goal ? 1 : 0);
      scratch.high = from <= 0 ? weigher.max : weigher.max - static_cast<float>(from) / scale;
      scratch.low = fmaxf(weigher.max - static_cast<float>(to) / scale, cut.edge);
    }
  }
  __syncthreads();
}

// Exact sums above and below the bracket, by runs above it; lists the candidates. Returns the cluster's sums.
__device__ inline Split split_at_bracket(Team& team, const Slice& slice, const Weigher& weigher,
                                         const Cut& cut) {
  Scratch& scratch = team.scratch();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const float low = scratch.low, high = scratch.high;
  Parts rest;
  static_assert(kMaxRowSlice / kThreads < 256);  // weights that 32 bits hold the coarse parts of
  uint64_t warp_above = 0;
#pragma unroll 2
  for (int run = warp; run < slice.runs(); run += kWarps) {
    const float4 quad = slice.quad(run);
    const float x[4] = {quad.x, quad.y, quad.z, quad.w};
    Parts above;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Parts weight = x[i] >= cut.edge ? weigher.parts(x[i]) : Parts{};
      if (x[i] > high) {
        above.add(weight);
      } else {
        rest.add(weight);
        if (x[i] >= low) {
          const int at = atomicAdd(&scratch.num_listed, 1);
          if (at < kMaxCandidates) scratch.listed[at] = static_cast<uint16_t>(kRun * run + 4 * lane + i);
        }
      }
    }
    above = {__reduce_add_sync(kAllLanes, above.coarse), __reduce_add_sync(kAllLanes, above.fine)};
    warp_above += above.whole();
    if (lane == 0) scratch.runs.set(run, above.whole());
  }
  uint64_t warp_rest = rest.whole();
  for (int offset = 16; offset > 0; offset /= 2) warp_rest += __shfl_xor_sync(kAllLanes, warp_rest, offset);
  if (lane == 0) scratch.above[warp] = warp_above, scratch.rest[warp] = warp_rest;
  __syncthreads();
  if (threadIdx.x < kRowBlocks) {
    Split own{};
    for (int i = 0; i < kWarps; ++i) own.above += scratch.above[i], own.rest += scratch.rest[i];
    own.candidates = scratch.num_listed;
    *peer(&scratch.splits[team.rank()], threadIdx.x) = own;
  }
  cluster_sync();
  Split all{};
  for (int block = 0; block < kRowBlocks; ++block) {
    const Split& part = scratch.splits[block];
    all.above += part.above;
    all.rest += part.rest;
    all.candidates = part.candidates > kMaxCandidates ? INT32_MAX / 2 : all.candidates + part.candidates;
  }
  return all;
}

// As pick_bin(), of this block's histogram alone.
__device__ inline Picked pick_bin_here(Team& team, const Histogram& histogram, uint64_t before,
                                       uint64_t wanted) {
  constexpr int kOwn = 4;
  constexpr int kOwners = kBins / kOwn;
  static_assert(kOwners <= kThreads && kOwners % 32 == 0);
  Scratch& scratch = team.scratch();
  const int warp = threadIdx.x / 32;
  uint64_t amounts[kOwn], sum = 0, upto = 0;
  if (threadIdx.x == 0) scratch.picked_bin = -1;
  if (threadIdx.x < kOwners) {
    for (int i = 0; i < kOwn; ++i) sum += amounts[i] = histogram.get(kOwn * threadIdx.x + i);
    upto = inclusive_scan(sum);
    if (threadIdx.x % 32 == 31) scratch.warps[warp] = upto;
  }
  __syncthreads();
  if (threadIdx.x < kOwners) {
    for (int i = 0; i < warp; ++i) before += scratch.warps[i];
    before += upto - sum;
    for (int i = 0; i < kOwn; ++i) {
      if (before < wanted && wanted <= before + amounts[i]) {  // one thread
        scratch.picked_bin = kOwn * static_cast<int>(threadIdx.x) + i;
        scratch.picked_before = before;
        scratch.picked_amount = amounts[i];
      }
      before += amounts[i];
    }
  }
  __syncthreads();
  return {scratch.picked_bin >= 0, scratch.picked_bin, scratch.picked_before, scratch.picked_amount};
}

inline constexpr int kHeld = 4;  // candidates of a thread

// The candidate that lifts `before` to `wanted`. The blocks do the same, each for itself.
__device__ inline Boundary select_candidate(Team& team, const Slice& slice, Histogram& histogram,
                                            const Weigher& weigher, uint64_t before, uint64_t wanted,
                                            int count) {
  Scratch& scratch = team.scratch();
  float held[kHeld];
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    int place = static_cast<int>(threadIdx.x) + k * kThreads;
    held[k] = kMasked;
    if (place >= count) continue;
    int block = 0;
    while (place >= scratch.splits[block].candidates) place -= scratch.splits[block++].candidates;
    held[k] = *peer(slice.values + peer(&scratch, block)->listed[place], block);
  }
  uint32_t low = key_of(scratch.low), high = key_of(scratch.high);
  Boundary result;
  Picked picked;
  picked.before = before;
  do {
    const int width = high > low ? 32 - __clz(static_cast<int>(high - low)) : 0;  // bits
    const int shift = width > 10 ? width - 10 : 0;
    histogram.clear();
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const uint32_t below = high - key_of(held[k]);  // wraps where it is above
      if (below <= high - low) histogram.add(static_cast<int>(below >> shift), weigher(held[k]));
    }
    __syncthreads();
    picked = pick_bin_here(team, histogram, picked.before, wanted);
    if (!picked.found) return result;
    high -= static_cast<uint32_t>(picked.bin) << shift;
    const uint32_t span = (1u << shift) - 1;
    if (high - low > span) low = high - span;
  } while (low < high);
  result.found = true;
  result.value = value_of(low);
  result.before = picked.before;
  result.amount = picked.amount;
  return result;
}

struct Nucleus {
  Boundary edge;
  uint64_t wanted = 0;  // p of the weights
  bool summed = false;  // the runs hold what is above the bracket, the list what is in it
};

// Of the tokens that `cut`, an at_least(), keeps: those with p of the weight.
__device__ inline Nucleus find_nucleus(Team& team, const Slice& slice, Histograms& histograms,
                                       const Weigher& weigher, const Cut& cut, double p) {
  Nucleus nucleus;
  auto goal_of = [p](uint64_t total) { return static_cast<uint64_t>(ceil(p * static_cast<double>(total))); };
  find_bracket(team, slice, histograms.fine, weigher, cut, static_cast<float>(p));
  const Split split = split_at_bracket(team, slice, weigher, cut);
  nucleus.wanted = goal_of(split.above + split.rest);
  if (split.candidates <= kHeld * kThreads && split.above < nucleus.wanted) {
    nucleus.edge = select_candidate(team, slice, histograms.exact, weigher, split.above, nucleus.wanted,
                                    split.candidates);
    nucleus.summed = nucleus.edge.found;
  }
  if (!nucleus.summed) {
    nucleus.edge = find_boundary<true>(team, slice, histograms.exact, weigher, cut, goal_of);
  }
  return nucleus;
}

// Adds the listed tokens that are kept to the runs.
__device__ inline void add_listed(Team& team, const Slice& slice, const Weigher& weigher, float edge) {
  Scratch& scratch = team.scratch();
  for (int i = threadIdx.x; i < scratch.num_listed; i += kThreads) {
    const int at = scratch.listed[i];
    const float x = slice.values[at];
    if (x >= edge) scratch.runs.add(at / kRun, weigher(x));
  }
  __syncthreads();
}

}  // namespace outrider::cuda::row

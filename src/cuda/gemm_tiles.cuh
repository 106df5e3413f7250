// The parts of narrow products, as gemm.cu describes them.
#pragma once

#include <cstdint>

#include "cuda/async_copy.cuh"
#include "cuda/gemm.h"
#include "cuda/gemm_epilogue.cuh"
#include "cuda/gemm_mixed.h"
#include "cuda/gemm_order.h"
#include "cuda/launch.cuh"
#include "cuda/weight_image.h"
#include "cuda/wgmma.cuh"

namespace outrider::cuda::narrow {

inline constexpr int kBlocks = 264;                               // of a grid on 132 multiprocessors
inline constexpr int kTotalFloats = kBlocks * kFeatureTile * 64;  // of SplitTotals

inline constexpr int kTokenBoxes[4] = {8, 16, 32, 64};  // of GemmInput::tensor
// Which of them a tile of so many tokens copies by.
constexpr int token_map(int tokens) {
  return tokens <= 8 ? 0 : tokens <= 16 ? 1 : tokens % kTokenBoxes[3] != 0 ? 2 : 3;
}
// Of a copy, and of a piece of the output.
constexpr int token_box(int tokens) { return kTokenBoxes[token_map(tokens)]; }

// Stages that leave room for two blocks an SM.
inline constexpr int kStages8 = 12, kStages16 = 10;

// Each warpgroup multiplies 64 features by kTokens. Two in a block share its tokens: 64 tokens cost the L2
// cache as much as the weights of 64 features do. Group 0's tiles may have more tokens than the others'
// (kFirstTokens): then they go evenly between those.
template <int kTokens_, int kWarpgroups_, int kStages_, Epilogue kEpilogue_, int kFirstTokens_ = kTokens_>
struct Tile {
  static constexpr int kTokens = kTokens_, kFirstTokens = kFirstTokens_, kWarpgroups = kWarpgroups_,
                       kStages = kStages_;
  static constexpr bool kMixed = kFirstTokens != kTokens;
  static constexpr Epilogue kEpilogue = kEpilogue_;
  static constexpr int kConsumers = kWarpgroups * 128;
  // Two warps copy; of a whole warpgroup, which gives its registers to two others.
  static constexpr int kThreads = kConsumers + (kWarpgroups > 1 ? 128 : 64);
  static constexpr int kFeatures = kWarpgroups * kFeatureTile;
  static constexpr int kBlocksAnSm = kWarpgroups > 1 ? 1 : 2;
  // This thread's, of those that multiply.
  static __device__ __forceinline__ int warpgroup() {
    return kWarpgroups > 1 ? uniform(threadIdx.x / 128) : 0;
  }
  static constexpr __device__ int tokens_of(int group) {
    return kMixed && group == 0 ? kFirstTokens : kTokens;
  }
  static constexpr int kSums = kTokens / 2;  // accumulators of a thread
  static constexpr int kWeightBytes = kFeatures * kBlockBytes;
  static constexpr int kStageBytes = kWeightBytes + (kFirstTokens * kBlockBytes + 1023) / 1024 * 1024;
  static constexpr int kTotals = kSums * kConsumers;  // floats
  // Of a warpgroup: outputs on their way to memory.
  static constexpr int kScratchBytes = kOutputBytes<kEpilogue, token_box(kFirstTokens)>;
  static constexpr int kBarriers = 2 * kStages;
  static constexpr int kSharedBytes =
      1024 + kStages * kStageBytes + kWarpgroups * kScratchBytes + kBarriers * 8;
  static_assert(kSharedBytes <= 227 * 1024);
  static constexpr int kSegmentsAtOnce = kTokens > 16 ? 1 : kMaxSplits - 1;  // whose totals find registers
  // That SplitTotals has room for. Large totals take longer to meet than to add up one after the other.
  static constexpr int kSplitItems = kTokens > 64 ? 0 : kTotalFloats / kTotals;
};

struct Shape {
  const uint8_t* weights;  // image blocks [groups * features / kFeatureTile][k_blocks]
  int groups, k_blocks, splits;
  const int32_t* token_begin;
  int tokens;  // where there is no token_begin
  FewTokens few;
  bool groups_known;
  SplitTotals split;
  Output output;
};

// What a block does, item by item: tiles whole, then the rest of them by segment.
struct Schedule {
  int tile_begin[kMaxGroups + 1];
  int token_begin[kMaxGroups], tokens[kMaxGroups];
  int whole, items;
};

struct Place {
  int group = 0, feature, token, tokens_left;
  int mixed_group = 1;  // the group of the last tile that was not group 0's
  bool alone;           // no other tile takes its weights
  int tile;             // among those dealt out by segment
  int first_segment, end_segment;
};

__device__ __forceinline__ int lanes_before(int value) {  // sum over the lanes before this one
  const int lane = threadIdx.x % 32;
  int sum = value;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int other = __shfl_up_sync(~0u, sum, step);
    if (lane >= step) sum += other;
  }
  return sum - value;
}

// By one warp, a group a lane.
template <typename T>
__device__ __forceinline__ void make_schedule(const Shape& shape, int workers, Schedule& schedule) {
  static_assert(kMaxGroups == 32);
  const int lane = threadIdx.x % 32;
  const int feature_blocks = (shape.output.features + T::kFeatures - 1) / T::kFeatures;
  int begin = 0, tokens = 0;
  if (shape.few.expert_of_pair) {
    const int rows = shape.token_begin[1], pairs = rows * shape.few.experts_per_token;
    const int expert = lane < pairs ? shape.few.expert_of_pair[lane] : -1;
    bool chosen = false;
#pragma unroll 1
    for (int p = 0; p < pairs; ++p) chosen |= __shfl_sync(~0u, expert, p) == lane - 1;
    begin = lane == 0 ? 0 : kFewTokens;
    tokens = lane == 0 ? rows : chosen ? pairs : 0;
  } else if (lane < shape.groups) {
    begin = shape.token_begin ? shape.token_begin[lane] : 0;
    tokens = shape.token_begin ? shape.token_begin[lane + 1] - begin : shape.tokens;
  }
  const int own = (tokens + T::tokens_of(lane) - 1) / T::tokens_of(lane) * feature_blocks;
  const int before = lanes_before(own), tiles = __shfl_sync(~0u, before + own, 31);
  if (lane < shape.groups) {
    schedule.tile_begin[lane] = before;
    schedule.token_begin[lane] = begin;
    schedule.tokens[lane] = tokens;
  }
  if (lane > 0) return;
  schedule.tile_begin[shape.groups] = tiles;
  const int rest = tiles % workers, rest_items = rest * shape.splits;
  const bool cut = rest_items <= T::kSplitItems && (rest_items + workers - 1) / workers < shape.splits &&
                   !(T::kMixed && tiles - rest < own);  // no tile of group 0
  schedule.whole = cut ? tiles - rest : tiles;
  schedule.items = cut ? schedule.whole + rest_items : tiles;
}

// The block's item of a round. Where tiles are mixed each round begins one block further, or every so many
// blocks would have all of group 0's.
template <typename T>
__device__ __forceinline__ int item_of(int round) {
  const int blocks = gridDim.x, block = blockIdx.x;
  return round * blocks + (T::kMixed ? (block + round) % blocks : block);
}

// `place` becomes that of an item behind the one it was of.
template <typename T>
__device__ __forceinline__ void go_to(const Schedule& schedule, int splits, int item, Place& place) {
  int tile = item;
  place.first_segment = 0;
  place.end_segment = splits;
  if (item >= schedule.whole) {
    const int part = item - schedule.whole;
    place.tile = part / splits;
    tile = schedule.whole + place.tile;
    place.first_segment = part % splits;
    place.end_segment = place.first_segment + 1;
  } else if (T::kMixed) {
    tile = static_cast<int>(mixed_tile(item, schedule.tile_begin[1], schedule.whole));
  }
  if (T::kMixed) place.group = tile < schedule.tile_begin[1] ? 0 : place.mixed_group;
#pragma unroll 1
  while (tile >= schedule.tile_begin[place.group + 1]) ++place.group;
  if (T::kMixed && place.group > 0) place.mixed_group = place.group;
  const int tokens = schedule.tokens[place.group], of_tile = T::tokens_of(place.group);
  const int token_blocks = (tokens + of_tile - 1) / of_tile;
  const int local = tile - schedule.tile_begin[place.group], block = local / token_blocks;
  const int token = (local - block * token_blocks) * of_tile;
  place.feature = block * T::kFeatures;
  place.token = schedule.token_begin[place.group] + token;
  place.tokens_left = tokens - token;
  place.alone = token_blocks == 1;
}

// The barriers of a block, in shared memory.
template <typename T>
struct Barriers {
  uint32_t base;
  __device__ uint32_t full(int stage) const { return base + 8 * stage; }  // copies have arrived
  __device__ uint32_t empty(int stage) const {
    return base + 8 * (T::kStages + stage);
  }  // consumers have read
};

// Copies begin at {0, 1}, so that the first round waits for nobody; consumers at {0, 0}.
struct Ring {
  int stage, phase;
  __device__ void advance(int stages) {
    if (++stage == stages) stage = 0, phase ^= 1;
  }
};

__device__ __forceinline__ int first_block(const Shape& shape, int segment) {
  return segment_begin(shape.k_blocks, shape.splits, segment);
}

// A thread alone takes longer to ask for a stage than memory takes to bring it: one of a warp asks for
// weights, one of another for tokens, each at its own pace, for every stage of every item, in the consumers'
// order.
template <typename T>
class WeightCopier {
 public:
  __device__ __forceinline__ WeightCopier(const Shape& shape, const Barriers<T>& barriers, uint8_t* stages)
      : shape_(shape), barriers_(barriers), stages_(shared_address(stages)) {}

  // Asks for the first weights of a tile before anything else is known.
  __device__ __forceinline__ void copy_ahead(int group, int feature, int k_begin, int k_end) {
    go_to_tile(group, feature, true);
    ahead_ = min(T::kStages, k_end - k_begin);
#pragma unroll 1
    for (int i = 0; i < ahead_; ++i) copy(k_begin + i, i);
  }

  // Weights depend on no other kernel.
  __device__ __forceinline__ void run(const Schedule& schedule) {
    Ring ring{0, 1};
    Place at;
#pragma unroll 1
    for (int round = 0; item_of<T>(round) < schedule.items; ++round) {
      go_to<T>(schedule, shape_.splits, item_of<T>(round), at);
      go_to_tile(at.group, at.feature, at.alone);
      const int k_end = first_block(shape_, at.end_segment);
#pragma unroll 1
      for (int k = first_block(shape_, at.first_segment); k < k_end; ++k) {
        if (ahead_ > 0) {
          --ahead_;
        } else {
          barrier_wait(barriers_.empty(ring.stage), ring.phase);
          copy(k, ring.stage);
        }
        ring.advance(T::kStages);
      }
    }
  }

 private:
  // A group's last tile may want more features than there are: it gets some that exist twice.
  __device__ __forceinline__ void go_to_tile(int group, int feature, bool alone) {
    hint_ = alone ? kEvictFirst : kEvictNormal;
    bytes_ = T::kWeightBytes + T::tokens_of(group) * kBlockBytes;
#pragma unroll
    for (int i = 0; i < T::kWarpgroups; ++i) {
      const int f = min(feature + i * kFeatureTile, shape_.output.features - kFeatureTile);
      weights_[i] =
          shape_.weights + int64_t{group * shape_.output.features + f} * kBlockBytes * shape_.k_blocks;
    }
  }
  __device__ __forceinline__ void copy(int k, int stage) const {
    barrier_arrive_expecting(barriers_.full(stage), bytes_);
#pragma unroll
    for (int i = 0; i < T::kWarpgroups; ++i) {
      copy_bytes(stages_ + stage * T::kStageBytes + i * kImageBlockBytes, weights_[i] + k * kImageBlockBytes,
                 kImageBlockBytes, barriers_.full(stage), hint_);
    }
  }

  const Shape& shape_;
  const Barriers<T> barriers_;
  const uint32_t stages_;
  const uint8_t* weights_[T::kWarpgroups];  // of the tile, from k = 0 on
  int bytes_;                               // of a stage
  uint64_t hint_;
  int ahead_ = 0;
};

// Maps of the input for the tiles' boxes.
struct TokenMaps {
  CUtensorMap rest, first;  // of group 0, where its tiles differ
};

template <int kTokens>
__device__ __forceinline__ void copy_tile_tokens(uint32_t to, const CUtensorMap& map, int k, int token,
                                                 uint32_t full) {
  constexpr int kBox = token_box(kTokens);
#pragma unroll
  for (int t = 0; t < kTokens; t += kBox) {
    copy_box(to + t * kBlockBytes, &map, k * kBlockBytes, token + t, full, kEvictLast);
  }
}

template <typename T>
__device__ __forceinline__ void copy_tokens(const TokenMaps& maps, const Shape& shape,
                                            const Schedule& schedule, const Barriers<T>& barriers,
                                            const uint8_t* stages) {
  Ring ring{0, 1};
  Place at;
#pragma unroll 1
  for (int round = 0; item_of<T>(round) < schedule.items; ++round) {
    go_to<T>(schedule, shape.splits, item_of<T>(round), at);
    const int k_end = first_block(shape, at.end_segment);
#pragma unroll 1
    for (int k = first_block(shape, at.first_segment); k < k_end; ++k) {
      barrier_wait(barriers.empty(ring.stage), ring.phase);
      const uint32_t to = shared_address(stages) + ring.stage * T::kStageBytes + T::kWeightBytes;
      if (T::kMixed && at.group == 0) {
        copy_tile_tokens<T::kFirstTokens>(to, maps.first, k, at.token, barriers.full(ring.stage));
      } else {
        copy_tile_tokens<T::kTokens>(to, maps.rest, k, at.token, barriers.full(ring.stage));
      }
      ring.advance(T::kStages);
    }
  }
}

// total = sum over `blocks` blocks of K from the ring's stages, interval by interval. With many sums there
// are registers for one interval at a time: the other warpgroup multiplies while this one takes it in.
//
// Loops stay loops, here and in all products: a step's kernels follow each other so fast that each finds the
// caches for instructions cold, and waits for what it has to fetch.
template <typename Element, typename T, int kTokens>
__device__ __forceinline__ void multiply(int blocks, const Barriers<T>& barriers, const uint8_t* stages,
                                         Ring& ring, float (&total)[kTokens / 2]) {
  using Sums = float[kTokens / 2];
  constexpr bool kTwoIntervals = kTokens <= 64;
  int reading = ring.stage;
  const uint32_t weights = T::warpgroup() * (kFeatureTile * kBlockBytes);  // in a stage
  const auto issue = [&](Sums& sum, bool accumulate) {
    barrier_wait(barriers.full(ring.stage), ring.phase);
    const uint32_t base = shared_address(stages + ring.stage * T::kStageBytes);
    const uint32_t a = operand_low(base + weights), b = operand_low(base + T::kWeightBytes);
    wgmma_fence();
    wgmma_block<Element, kTokens>(sum, a, b, accumulate);
    wgmma_commit();
    ring.advance(T::kStages);
  };
  const auto release = [&] {
    if (threadIdx.x % 128 == 0) barrier_arrive(barriers.empty(reading));
    if (++reading == T::kStages) reading = 0;
  };
  const auto absorb = [&](Sums& sum) {
    pin(sum);
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) total[i] += sum[i];
  };
  const auto last = [&](Sums& sum) {
    wgmma_wait<0>();
    release();
    absorb(sum);
  };
#pragma unroll
  for (float& t : total) t = 0.0f;
  if constexpr (!kTwoIntervals) {
    Sums sum;
#pragma unroll 1
    while (blocks > 0) {
      const int count = min(kIntervalBlocks, blocks);
      blocks -= count;
      pin(sum);
      issue(sum, false);
#pragma unroll 1
      for (int b = 1; b < count; ++b) {
        issue(sum, true);
        wgmma_wait<1>();
        release();
      }
      last(sum);
    }
  } else {
    Sums even, odd;
    // Adds up an interval in `sum`, and meanwhile takes in the one before.
    const auto interval = [&](Sums& sum, Sums& before, bool first) {
      const int count = min(kIntervalBlocks, blocks);
      blocks -= count;
      pin(sum);
      issue(sum, false);
      wgmma_wait<1>();
      if (!first) release();
      absorb(before);
#pragma unroll 1
      for (int b = 1; b < count; ++b) {
        issue(sum, true);
        wgmma_wait<1>();
        release();
      }
    };
#pragma unroll
    for (float& none : odd) none = 0.0f;
    bool first = true;
#pragma unroll 1
    for (;;) {
      interval(even, odd, first);
      if (blocks == 0) return last(even);
      interval(odd, even, false);
      if (blocks == 0) return last(odd);
      first = false;
    }
  }
}

// A total that is not there yet; one that had these bits, a NaN, is left as another NaN.
constexpr uint32_t kAbsent = SplitTotals::kAbsent, kNan = 0x7fffffff;

__device__ __forceinline__ uint4 load_totals(const float* from) {
  uint4 v;
  asm volatile("ld.relaxed.gpu.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from)
               : "memory");
  return v;
}
__device__ __forceinline__ void store_totals(float* to, const uint4& v) {
  asm volatile("st.relaxed.gpu.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z),
               "r"(v.w)
               : "memory");
}

// sum (+)= the totals of `segments` segments, once they are there, whose places become kAbsent again.
template <typename T>
__device__ __forceinline__ void add_arrived(float* from, int segments, bool first, float (&sum)[T::kSums]) {
  constexpr int kStep = T::kConsumers * 4, kAccesses = T::kSums / 4;
  uint4 values[T::kSegmentsAtOnce][kAccesses];
  bool absent;
  do {
    absent = false;
#pragma unroll
    for (int s = 0; s < T::kSegmentsAtOnce; ++s) {
#pragma unroll
      for (int i = 0; i < kAccesses; ++i)
        if (s < segments) values[s][i] = load_totals(from + s * T::kTotals + i * kStep);
    }
#pragma unroll
    for (int s = 0; s < T::kSegmentsAtOnce; ++s) {
#pragma unroll
      for (int i = 0; i < kAccesses; ++i) {
        const uint4& v = values[s][i];
        absent |= s < segments && (v.x == kAbsent || v.y == kAbsent || v.z == kAbsent || v.w == kAbsent);
      }
    }
  } while (absent);
#pragma unroll
  for (int s = 0; s < T::kSegmentsAtOnce; ++s) {
    if (s >= segments) break;
#pragma unroll
    for (int i = 0; i < kAccesses; ++i) {
      store_totals(from + s * T::kTotals + i * kStep, {kAbsent, kAbsent, kAbsent, kAbsent});
      const uint4& v = values[s][i];
      const float theirs[4] = {__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z),
                               __uint_as_float(v.w)};
#pragma unroll
      for (int q = 0; q < 4; ++q) sum[4 * i + q] = first && s == 0 ? theirs[q] : sum[4 * i + q] + theirs[q];
    }
  }
}

// The block of a tile's last segment adds up what the others leave for it; true there. A value that is no
// longer kAbsent has arrived, so that no fence and no count are needed: those cost two trips to the L2 cache.
// Waiting ends: all blocks fit the device at once, and take items in order.
template <typename T>
__device__ __forceinline__ bool combine_totals(const Shape& shape, int tile, int segment,
                                               float (&total)[T::kSums]) {
  constexpr int kStep = T::kConsumers * 4, kAccesses = T::kSums / 4;
  const int others = shape.splits - 1;
  float* totals = shape.split.totals + int64_t{tile} * others * T::kTotals + threadIdx.x * 4;
  const auto bits = [](float value) {
    const uint32_t b = __float_as_uint(value);
    return b == kAbsent ? kNan : b;
  };
  if (segment < others) {
#pragma unroll
    for (int i = 0; i < kAccesses; ++i) {
      store_totals(
          totals + segment * T::kTotals + i * kStep,
          {bits(total[4 * i]), bits(total[4 * i + 1]), bits(total[4 * i + 2]), bits(total[4 * i + 3])});
    }
    return false;
  }
  float sum[T::kSums];
#pragma unroll
  for (int s = 0; s < kMaxSplits - 1; s += T::kSegmentsAtOnce) {
    if (s < others) {
      add_arrived<T>(totals + s * T::kTotals, min(T::kSegmentsAtOnce, others - s), s == 0, sum);
    }
  }
#pragma unroll
  for (int i = 0; i < T::kSums; ++i) total[i] = sum[i] + total[i];
  return true;
}

// An item of kTokens tokens.
template <typename Element, typename T, int kTokens>
__device__ __forceinline__ void multiply_item(const Shape& shape, const Place& at, bool whole,
                                              const Barriers<T>& barriers, const uint8_t* stages,
                                              uint8_t* scratch, Ring& ring) {
  float total[kTokens / 2], so_far[kTokens / 2];
#pragma unroll 1
  for (int s = at.first_segment; s < at.end_segment; ++s) {
    multiply<Element, T, kTokens>(first_block(shape, s + 1) - first_block(shape, s), barriers, stages, ring,
                                  total);
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) {
      if (s > at.first_segment) total[i] = so_far[i] + total[i];
      so_far[i] = total[i];
    }
  }
  bool complete = true;
  if constexpr (T::kSplitItems > 0 && kTokens == T::kTokens) {
    if (!whole) complete = combine_totals<T>(shape, at.tile, at.first_segment, total);
  }
  const int feature = at.feature + T::warpgroup() * kFeatureTile;
  if (!complete || feature >= shape.output.features) return;
  constexpr int kBox = token_box(kTokens);
#pragma unroll
  for (int first = 0; first < kTokens; first += kBox) {
    float piece[kBox / 2];
#pragma unroll
    for (int i = 0; i < kBox / 2; ++i) piece[i] = total[first / 2 + i];
    store_tile<T::kEpilogue, kBox>(shape.output, at.group, feature, at.token + first, at.tokens_left - first,
                                   T::warpgroup() + 1, scratch, piece);
  }
}

// The work of the warps that multiply.
template <typename Element, typename T>
__device__ __forceinline__ void multiply_tiles(const Shape& shape, const Schedule& schedule,
                                               const Barriers<T>& barriers, const uint8_t* stages,
                                               uint8_t* scratch) {
  scratch += T::warpgroup() * T::kScratchBytes;
  Ring ring{0, 0};
  Place at;
#pragma unroll 1
  for (int round = 0; item_of<T>(round) < schedule.items; ++round) {
    const int item = item_of<T>(round);
    go_to<T>(schedule, shape.splits, item, at);
    const bool whole = item < schedule.whole;
    if (T::kMixed && at.group == 0) {
      multiply_item<Element, T, T::kFirstTokens>(shape, at, whole, barriers, stages, scratch, ring);
    } else {
      multiply_item<Element, T, T::kTokens>(shape, at, whole, barriers, stages, scratch, ring);
    }
  }
}

// Of a block; its shared memory from the start.
template <typename T>
struct Parts {
  uint8_t *stages, *scratch;
  Barriers<T> barriers;
};
template <typename T>
__device__ __forceinline__ Parts<T> parts_of(uint8_t* raw, int scratch_bytes) {
  auto* stages = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(raw) + 1023) & ~uintptr_t{1023});
  uint8_t* scratch = stages + T::kStages * T::kStageBytes;
  return {stages, scratch, {shared_address(scratch + scratch_bytes)}};
}

// By one thread, before anybody uses them.
template <typename T>
__device__ __forceinline__ void init(const Barriers<T>& barriers) {
#pragma unroll 1
  for (int stage = 0; stage < T::kStages; ++stage) {
    barrier_init(barriers.full(stage), 1);
    barrier_init(barriers.empty(stage), T::kWarpgroups);
  }
  barrier_init_fence();
}

// The kernel's argument.
inline Shape shape_of(const GemmCall& call) {
  const GemmWeights& w = *call.w;
  const int block = w.type == ElementType::kFp8 ? kBlockBytes : kBlockBytes / 2;
  const Output output{
      call.y, w.features, w.scales, call.divisor, call.divisor_of_group, call.few.expert_of_pair};
  return {static_cast<const uint8_t*>(w.data),
          w.groups,
          w.k / block,
          w.splits,
          call.token_begin,
          call.tokens_a_group,
          call.few,
          call.groups_known,
          call.split,
          output};
}

}  // namespace outrider::cuda::narrow

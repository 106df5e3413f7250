// The weights are operand A (64 features a warpgroup), the tokens operand B: with few tokens the tensor cores
// still get full rows, and a step is a stream of weights. One warp asks the copy engine for blocks of 128
// bytes of K, several stages ahead, and asks for weights before the kernels that make the tokens have ended;
// one warpgroup multiplies, or two with 64 features each. The grid is persistent: tiles of (feature block,
// token block) are dealt out with the token blocks of one feature block next to each other, so that the L2
// cache serves its weights to all of them.
//
// A matrix with too few feature blocks for the device has its K cut into segments (GemmWeights::splits). The
// tiles that would leave part of the grid idle are dealt out by segment; the last of a tile's blocks to end
// adds all totals. Other tiles go through the segments one after the other. Both add the same totals in the
// same order (gemm_order.h).
//
// Floor: weights / memory bandwidth up to about 250 tokens, 2 * tokens * features * k / tensor rate beyond.
#include <algorithm>
#include <cstdint>

#include "cuda/async_copy.cuh"
#include "cuda/gemm.h"
#include "cuda/gemm_epilogue.cuh"
#include "cuda/gemm_order.h"
#include "cuda/gemm_wide.h"
#include "cuda/launch.cuh"
#include "cuda/tensor_map.h"
#include "cuda/weight_image.h"
#include "cuda/wgmma_wide.cuh"

namespace outrider::cuda {
namespace {

constexpr int kBlocks = 264;  // of a narrow grid on 132 multiprocessors

constexpr int kTotalFloats = kBlocks * kFeatureTile * 64;  // of SplitTotals

// Each warpgroup multiplies 64 features by kTokens.
template <int kTokens_, int kWarpgroups_, int kStages_, Epilogue kEpilogue_>
struct Tile {
  static constexpr int kTokens = kTokens_, kWarpgroups = kWarpgroups_, kStages = kStages_;
  static constexpr Epilogue kEpilogue = kEpilogue_;
  static constexpr int kConsumers = kWarpgroups * 128, kThreads = kConsumers + 32;
  static constexpr int kFeatures = kWarpgroups * kFeatureTile;
  // This thread's, of those that multiply.
  static __device__ __forceinline__ int warpgroup() {
    return kWarpgroups > 1 ? __shfl_sync(~0u, static_cast<int>(threadIdx.x / 128), 0) : 0;
  }
  static constexpr int kTokenBox = kTokens < 64 ? kTokens : 64;  // of a copy, and of a piece of the output
  static constexpr int kSums = kTokens / 2;                      // accumulators of a thread
  static constexpr int kWeightBytes = kFeatures * kBlockBytes;
  static constexpr int kTokenBytes = kTokens * kBlockBytes;
  static constexpr int kStageBytes = kWeightBytes + (kTokenBytes + 1023) / 1024 * 1024;
  static constexpr int kTotals = kSums * kConsumers;  // floats
  // Of a warpgroup: outputs on their way to memory.
  static constexpr int kScratchBytes = kOutputBytes<kEpilogue, kTokenBox>;
  static constexpr int kBarriers = 2 * kStages;
  static constexpr int kSharedBytes =
      1024 + kStages * kStageBytes + kWarpgroups * kScratchBytes + kBarriers * 8;
  static_assert(kSharedBytes <= 227 * 1024);
  // That SplitTotals has room for. Large totals take longer to meet than to add up one after the other.
  static constexpr int kSplitItems = kWarpgroups > 1 ? 0 : kTotalFloats / kTotals;
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
  int tile;  // among those dealt out by segment
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
    for (int p = 0; p < pairs; ++p) chosen |= __shfl_sync(~0u, expert, p) == lane - 1;
    begin = lane == 0 ? 0 : kFewTokens;
    tokens = lane == 0 ? rows : chosen ? pairs : 0;
  } else if (lane < shape.groups) {
    begin = shape.token_begin ? shape.token_begin[lane] : 0;
    tokens = shape.token_begin ? shape.token_begin[lane + 1] - begin : shape.tokens;
  }
  const int own = (tokens + T::kTokens - 1) / T::kTokens * feature_blocks;
  const int before = lanes_before(own), tiles = __shfl_sync(~0u, before + own, 31);
  if (lane < shape.groups) {
    schedule.tile_begin[lane] = before;
    schedule.token_begin[lane] = begin;
    schedule.tokens[lane] = tokens;
  }
  if (lane > 0) return;
  schedule.tile_begin[shape.groups] = tiles;
  const int rest = tiles % workers, rest_items = rest * shape.splits;
  const bool cut = rest_items <= T::kSplitItems && (rest_items + workers - 1) / workers < shape.splits;
  schedule.whole = cut ? tiles - rest : tiles;
  schedule.items = cut ? schedule.whole + rest_items : tiles;
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
  }
  while (tile >= schedule.tile_begin[place.group + 1]) ++place.group;
  const int tokens = schedule.tokens[place.group];
  const int token_blocks = (tokens + T::kTokens - 1) / T::kTokens;
  const int local = tile - schedule.tile_begin[place.group], block = local / token_blocks;
  const int token = (local - block * token_blocks) * T::kTokens;
  place.feature = block * T::kFeatures;
  place.token = schedule.token_begin[place.group] + token;
  place.tokens_left = tokens - token;
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

struct Ring {
  int stage = 0, phase;
  __device__ void advance(int stages) {
    if (++stage == stages) stage = 0, phase ^= 1;
  }
};

__device__ __forceinline__ int first_block(const Shape& shape, int segment) {
  return segment_begin(shape.k_blocks, shape.splits, segment);
}

// The copying thread.
template <typename T>
class Copier {
 public:
  __device__ __forceinline__ Copier(const CUtensorMap& tokens, const Shape& shape,
                                    const Barriers<T>& barriers, uint8_t* stages)
      : tokens_(tokens), shape_(shape), barriers_(barriers), stages_(shared_address(stages)) {}

  // Asks for the first weights of a tile before anything else is known.
  __device__ __forceinline__ void copy_ahead(int group, int feature, int k_begin, int k_end) {
    go_to_tile(group, feature);
    ahead_ = min(T::kStages, k_end - k_begin);
    for (int i = 0; i < ahead_; ++i) copy_weights(k_begin + i, i);
  }

  // Asks for every stage of every item, in the consumers' order.
  __device__ __forceinline__ void run(const Schedule& schedule, int worker, int workers) {
    Ring ring{0, 1};
    Place at;
    bool first = true;
    for (int item = worker; item < schedule.items; item += workers) {
      go_to<T>(schedule, shape_.splits, item, at);
      int k = first_block(shape_, at.first_segment);
      const int k_end = first_block(shape_, at.end_segment);
      if (!first) go_to_tile(at.group, at.feature);
      if (first) {  // weights depend on no other kernel
        first = false;
        if (ahead_ == 0) copy_ahead(at.group, at.feature, k, k_end);
        wait_for_previous();
        for (int i = 0; i < ahead_; ++i, ++k) {
          copy_tokens(at.token, k, i);
          ring.advance(T::kStages);
        }
      }
      for (; k < k_end; ++k) {
        barrier_wait(barriers_.empty(ring.stage), ring.phase);
        copy_weights(k, ring.stage);
        copy_tokens(at.token, k, ring.stage);
        ring.advance(T::kStages);
      }
    }
  }

 private:
  // A group's last tile may want more features than there are: it gets some that exist twice.
  __device__ __forceinline__ void go_to_tile(int group, int feature) {
#pragma unroll
    for (int i = 0; i < T::kWarpgroups; ++i) {
      const int f = min(feature + i * kFeatureTile, shape_.output.features - kFeatureTile);
      weights_[i] =
          shape_.weights + int64_t{group * shape_.output.features + f} * kBlockBytes * shape_.k_blocks;
    }
  }
  __device__ __forceinline__ void copy_weights(int k, int stage) const {
    barrier_arrive_expecting(barriers_.full(stage), T::kWeightBytes + T::kTokenBytes);
#pragma unroll
    for (int i = 0; i < T::kWarpgroups; ++i) {
      copy_bytes(stages_ + stage * T::kStageBytes + i * kImageBlockBytes, weights_[i] + k * kImageBlockBytes,
                 kImageBlockBytes, barriers_.full(stage), kEvictFirst);
    }
  }
  __device__ __forceinline__ void copy_tokens(int token, int k, int stage) const {
    const uint32_t to = stages_ + stage * T::kStageBytes + T::kWeightBytes;
#pragma unroll
    for (int t = 0; t < T::kTokens; t += T::kTokenBox) {
      copy_box(to + t * kBlockBytes, &tokens_, k * kBlockBytes, token + t, barriers_.full(stage), kEvictLast);
    }
  }

  const CUtensorMap& tokens_;
  const Shape& shape_;
  const Barriers<T> barriers_;
  const uint32_t stages_;
  const uint8_t* weights_[T::kWarpgroups];  // of the tile, from k = 0 on
  int ahead_ = 0;
};

template <typename Element, int kTokens>
__device__ __forceinline__ void multiply_block(float (&sum)[kTokens / 2], uint64_t a, uint64_t b,
                                               bool accumulate) {
  if constexpr (kTokens >= 32) {
    wgmma_wide_block<Element, kTokens>(sum, a, b, accumulate);
  } else {
#pragma unroll
    for (int j = 0; j < 4; ++j) Wgmma<Element, kTokens>::run(sum, a + 2 * j, b + 2 * j, accumulate || j > 0);
  }
}

// total = sum over `blocks` blocks of K from the ring's stages, interval by interval. With many sums there
// are registers for one interval at a time: the other warpgroup multiplies while this one takes it in.
template <typename Element, typename T>
__device__ __forceinline__ void multiply(int blocks, const Barriers<T>& barriers, const uint8_t* stages,
                                         Ring& ring, float (&total)[T::kSums]) {
  constexpr bool kTwoIntervals = T::kSums <= 32;
  float even[T::kSums], odd[kTwoIntervals ? T::kSums : 1];
  int reading = ring.stage;
  const auto issue = [&](float(&sum)[T::kSums], bool accumulate) {
    barrier_wait(barriers.full(ring.stage), ring.phase);
    const uint32_t base = shared_address(stages + ring.stage * T::kStageBytes);
    const uint64_t a = swizzled_operand(base + T::warpgroup() * (kFeatureTile * kBlockBytes));
    const uint64_t b = swizzled_operand(base + T::kWeightBytes);
    wgmma_fence();
    multiply_block<Element, T::kTokens>(sum, a, b, accumulate);
    wgmma_commit();
    ring.advance(T::kStages);
  };
  const auto release = [&] {
    if (threadIdx.x % 128 == 0) barrier_arrive(barriers.empty(reading));
    if (++reading == T::kStages) reading = 0;
  };
  const auto absorb = [&](float(&sum)[T::kSums]) {
    pin(sum);
#pragma unroll
    for (int i = 0; i < T::kSums; ++i) total[i] += sum[i];
  };
  // Adds up an interval in `sum`, and meanwhile takes in the one before, in `before` where there is one.
  const auto interval = [&](float(&sum)[T::kSums], auto& before, bool first) {
    const int count = min(kIntervalBlocks, blocks);
    blocks -= count;
    pin(sum);
    issue(sum, false);
    if constexpr (kTwoIntervals) {
      if (!first) {
        wgmma_wait<1>();
        release();
        absorb(before);
      }
    }
    for (int b = 1; b < count; ++b) {
      issue(sum, true);
      wgmma_wait<1>();
      release();
    }
  };
#pragma unroll
  for (float& t : total) t = 0.0f;
  if constexpr (!kTwoIntervals) {
    while (blocks > 0) {
      interval(even, odd, true);
      wgmma_wait<0>();
      release();
      absorb(even);
    }
    return;
  } else {
    interval(even, odd, true);
    for (;;) {
      if (blocks == 0) {
        wgmma_wait<0>();
        release();
        absorb(even);
        break;
      }
      interval(odd, even, false);
      if (blocks == 0) {
        wgmma_wait<0>();
        release();
        absorb(odd);
        break;
      }
      interval(even, odd, false);
    }
  }
}

// total = sum over every segment, one after the other.
template <typename Element, typename T>
__device__ __forceinline__ void multiply_all(const Shape& shape, const Barriers<T>& barriers,
                                             const uint8_t* stages, Ring& ring, float (&total)[T::kSums]) {
  float so_far[T::kSums];
  for (int s = 0; s < shape.splits; ++s) {
    multiply<Element, T>(first_block(shape, s + 1) - first_block(shape, s), barriers, stages, ring, total);
#pragma unroll
    for (int i = 0; i < T::kSums; ++i) {
      if (s > 0) total[i] = so_far[i] + total[i];
      so_far[i] = total[i];
    }
  }
}

__device__ __forceinline__ void sync_warpgroup(int warpgroup) {
  asm volatile("bar.sync %0, 128;" ::"r"(warpgroup + 1) : "memory");
}

// Leaves this segment's totals for the block that comes last; true there, with the sum of all. Each warpgroup
// for itself; `arrived`: its own, in shared memory.
template <typename T>
__device__ __forceinline__ bool combine_totals(const Shape& shape, int tile, int segment, int* arrived,
                                               float (&total)[T::kSums]) {
  constexpr int kStep = T::kConsumers;
  const int warpgroup = T::warpgroup();
  float* totals = shape.split.totals + int64_t{tile} * shape.splits * T::kTotals + threadIdx.x;
  float* mine = totals + segment * T::kTotals;
#pragma unroll
  for (int i = 0; i < T::kSums; ++i) __stcg(mine + i * kStep, total[i]);
  __threadfence();
  sync_warpgroup(warpgroup);
  if (threadIdx.x % 128 == 0) {
    int32_t& count = shape.split.counts[tile * T::kWarpgroups + warpgroup];
    *arrived = atomicAdd(&count, 1);
    if (*arrived + 1 == shape.splits) count = 0;  // for the next product
    __threadfence();
  }
  sync_warpgroup(warpgroup);
  if (*arrived + 1 < shape.splits) return false;
#pragma unroll
  for (int i = 0; i < T::kSums; ++i) total[i] = __ldcg(totals + i * kStep);
  for (int s = 1; s < shape.splits; ++s) {
#pragma unroll
    for (int i = 0; i < T::kSums; ++i) total[i] += __ldcg(totals + s * T::kTotals + i * kStep);
  }
  return true;
}

// The work of the warps that multiply.
template <typename Element, typename T>
__device__ __forceinline__ void multiply_tiles(const Shape& shape, const Schedule& schedule,
                                               const Barriers<T>& barriers, const uint8_t* stages,
                                               uint8_t* scratch, int* arrived) {
  const int warpgroup = T::warpgroup();
  scratch += warpgroup * T::kScratchBytes;
  Ring ring{0, 0};
  Place at;
  for (int item = blockIdx.x; item < schedule.items; item += gridDim.x) {
    go_to<T>(schedule, shape.splits, item, at);
    float total[T::kSums];
    bool complete = true;
    if (at.end_segment - at.first_segment == shape.splits) {
      multiply_all<Element, T>(shape, barriers, stages, ring, total);
    } else {
      multiply<Element, T>(first_block(shape, at.end_segment) - first_block(shape, at.first_segment),
                           barriers, stages, ring, total);
      complete = combine_totals<T>(shape, at.tile, at.first_segment, arrived + warpgroup, total);
    }
    const int feature = at.feature + warpgroup * kFeatureTile;
    if (!complete || feature >= shape.output.features) continue;
#pragma unroll
    for (int first = 0; first < T::kTokens; first += T::kTokenBox) {
      float piece[T::kTokenBox / 2];
#pragma unroll
      for (int i = 0; i < T::kTokenBox / 2; ++i) piece[i] = total[first / 2 + i];
      store_tile<T::kEpilogue, T::kTokenBox>(shape.output, at.group, feature, at.token + first,
                                             at.tokens_left - first, warpgroup + 1, scratch, piece);
    }
  }
}

template <typename Element, typename T>
__global__ void __launch_bounds__(T::kThreads, 1)
    gemm_kernel(const __grid_constant__ CUtensorMap tokens, const __grid_constant__ Shape shape) {
  extern __shared__ uint8_t raw[];
  auto* stages = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(raw) + 1023) & ~uintptr_t{1023});
  uint8_t* scratch = stages + T::kStages * T::kStageBytes;
  const Barriers<T> barriers{shared_address(scratch + T::kWarpgroups * T::kScratchBytes)};
  __shared__ Schedule schedule;
  __shared__ int arrived[T::kWarpgroups];
  const bool copies = threadIdx.x / 32 == T::kConsumers / 32;  // this warp
  Copier<T> copier(tokens, shape, barriers, stages);
  if (copies) {
    const int worker = blockIdx.x;
    if (threadIdx.x % 32 == 0) {
      prefetch_tensor_map(&tokens);
      for (int stage = 0; stage < T::kStages; ++stage) {
        barrier_init(barriers.full(stage), 1);
        barrier_init(barriers.empty(stage), T::kWarpgroups);
      }
      barrier_init_fence();
      // The shared matrix's tiles come first.
      const int feature = worker * T::kFeatures;
      if (shape.few.expert_of_pair && !shape.groups_known && shape.splits == 1 &&
          feature < shape.output.features) {
        copier.copy_ahead(0, feature, 0, shape.k_blocks);
      }
    }
    __syncwarp();
    // The groups' bounds come from another kernel; a single group's are as old as the step.
    if (shape.groups > 1 && !shape.groups_known) wait_for_previous();
    make_schedule<T>(shape, gridDim.x, schedule);
  }
  __syncthreads();

  if (threadIdx.x >= T::kConsumers) {
    if (copies && threadIdx.x % 32 == 0) copier.run(schedule, blockIdx.x, gridDim.x);
  } else {
    wait_for_previous();
    let_next_start();
    multiply_tiles<Element, T>(shape, schedule, barriers, stages, scratch, arrived);
  }
}

constexpr int kTokenBoxes[4] = {8, 16, 32, 64};  // of GemmInput::tensor

template <typename Element, Epilogue kEpilogue>
struct Kernels {
  // Two blocks an SM, but for the last.
  using Tile8 = Tile<8, 1, 12, kEpilogue>;
  using Tile16 = Tile<16, 1, 10, kEpilogue>;
  using Tile32 = Tile<32, 1, 8, kEpilogue>;
  using Tile64 = Tile<64, 1, 5, kEpilogue>;
  using Tile128 = Tile<128, 2, kEpilogue == Epilogue::kF32 ? 5 : 6, kEpilogue>;

  template <typename T>
  static void prepare_one() {
    check(cudaFuncSetAttribute(gemm_kernel<Element, T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               T::kSharedBytes),
          "shared memory of gemm");
  }
  static void prepare() {
    prepare_one<Tile8>();
    prepare_one<Tile16>();
    prepare_one<Tile32>();
    prepare_one<Tile64>();
    prepare_one<Tile128>();
  }

  template <typename T>
  static void run_tile(const GemmCall& call, int box, int blocks, cudaStream_t stream) {
    const GemmWeights& w = *call.w;
    const int block = w.type == ElementType::kFp8 ? kBlockBytes : kBlockBytes / 2;
    const Output output{call.y,
                        w.features,
                        w.scales,
                        call.output == OutputType::kFp8,
                        call.divisor,
                        call.divisor_of_group,
                        call.few.expert_of_pair};
    const Shape shape{static_cast<const uint8_t*>(w.data),
                      w.groups,
                      w.k / block,
                      w.splits,
                      call.token_begin,
                      call.tokens_a_group,
                      call.few,
                      call.groups_known,
                      call.split,
                      output};
    if (w.groups == 1) {  // no more blocks than there is work for
      const int tiles = (w.features + T::kFeatures - 1) / T::kFeatures *
                        ((call.tokens_a_group + T::kTokens - 1) / T::kTokens);
      blocks = std::min(blocks, tiles * w.splits);
    }
    launch(gemm_kernel<Element, T>, blocks, T::kThreads, T::kSharedBytes, stream, call.x->tensor[box], shape);
  }

  static void run(const GemmCall& call, int num_sms, cudaStream_t stream) {
    const int tokens = call.tokens_a_group;
    if (!is_narrow(call.w->groups, tokens)) return gemm_wide(call, num_sms, stream);
    if (tokens <= 8) return run_tile<Tile8>(call, 0, 2 * num_sms, stream);
    if (tokens <= 16) return run_tile<Tile16>(call, 1, 2 * num_sms, stream);
    if (tokens <= 32) return run_tile<Tile32>(call, 2, 2 * num_sms, stream);
    // Where K has segments, the wider tile would leave half of the device idle.
    const int narrow = call.w->splits > 1 ? 128 : 64;
    if (tokens <= narrow) return run_tile<Tile64>(call, 3, 2 * num_sms, stream);
    run_tile<Tile128>(call, 3, num_sms, stream);
  }
};

int element_bytes(ElementType type) { return type == ElementType::kFp8 ? 1 : 2; }

// Segments of K, so that one token tile's blocks fill most of the grid. A property of the matrix alone: it
// decides the order of sums.
int splits_of(int features, int k_blocks) {
  return std::clamp(kBlocks / (features / kFeatureTile), 1, std::min(kMaxSplits, std::max(1, k_blocks / 8)));
}

}  // namespace

GemmWeights make_gemm_weights(ElementType type, const void* data, int groups, int features, int k,
                              const float* scales, bool gated) {
  const int splits = splits_of(features, k * element_bytes(type) / kBlockBytes);
  return {type, data, groups, features, k, splits, scales, gated};
}

GemmWeights some_groups(const GemmWeights& all, int first, int groups) {
  const int64_t bytes = int64_t{all.features} * all.k * element_bytes(all.type);
  const int scales = all.features / kFeatureTile * (all.gated ? 2 : 1);
  return make_gemm_weights(all.type, static_cast<const uint8_t*>(all.data) + first * bytes, groups,
                           all.features, all.k, all.scales ? all.scales + first * scales : nullptr,
                           all.gated);
}

GemmInput make_gemm_input(ElementType type, const void* data, int64_t max_tokens, int k) {
  GemmInput x;
  const int64_t row_bytes = int64_t{k} * element_bytes(type);
  for (int i = 0; i < 4; ++i) x.tensor[i] = make_tensor_map(data, max_tokens, row_bytes, kTokenBoxes[i]);
  for (int i = 0; i < 2; ++i)
    x.wide_tensor[i] = make_tensor_map(data, max_tokens, row_bytes, kWideBoxTokens[i]);
  return x;
}

void gemm(const GemmCall& call, int num_sms, cudaStream_t stream) {
  const bool fp8 = call.w->type == ElementType::kFp8, f32 = call.output == OutputType::kF32;
  if (fp8) {
    if (call.w->gated) return Kernels<Fp8, Epilogue::kGated>::run(call, num_sms, stream);
    if (f32) return Kernels<Fp8, Epilogue::kF32>::run(call, num_sms, stream);
    return Kernels<Fp8, Epilogue::kBf16>::run(call, num_sms, stream);
  }
  if (call.w->gated) return Kernels<Bf16, Epilogue::kGated>::run(call, num_sms, stream);
  if (f32) return Kernels<Bf16, Epilogue::kF32>::run(call, num_sms, stream);
  Kernels<Bf16, Epilogue::kBf16>::run(call, num_sms, stream);
}

size_t SplitTotals::total_bytes() { return sizeof(float) * kTotalFloats; }
size_t SplitTotals::count_bytes() { return sizeof(int32_t) * (2 * kBlocks + 1); }
int32_t* SplitTotals::next_tile() const { return counts + 2 * kBlocks; }

void prepare_gemm() {
  prepare_gemm_wide();
  Kernels<Fp8, Epilogue::kBf16>::prepare();
  Kernels<Fp8, Epilogue::kF32>::prepare();
  Kernels<Fp8, Epilogue::kGated>::prepare();
  Kernels<Bf16, Epilogue::kBf16>::prepare();
  Kernels<Bf16, Epilogue::kF32>::prepare();
  Kernels<Bf16, Epilogue::kGated>::prepare();
}

}  // namespace outrider::cuda

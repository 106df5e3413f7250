// The weights are operand A (64 features a warpgroup), the tokens operand B: with few tokens the tensor cores
// still get full rows, and a step is a stream of weights. One warp asks the copy engine for blocks of 128
// bytes of K, several stages ahead, and asks for weights before the kernels that make the tokens have ended;
// one or two warpgroups multiply. The grid is persistent: tiles of (feature block, token block) are dealt out
// with the token blocks of one feature block next to each other, so that the L2 cache serves its weights to
// all of them.
//
// Each K block's product is added to fp32 totals in registers, while the next block multiplies: FP8 products
// accumulate in about 14 bits inside the tensor cores, which over 5120 terms would cost 3e-3 to 8e-3 of the
// result.
//
// A matrix with too few feature blocks for the device has its K cut into segments (GemmWeights::splits). With
// few tokens each segment has a block of its own; the last of a tile's blocks to end adds all totals. A wide
// tile goes through the segments one after the other. Both add the same totals in the same order.
//
// Floor: weights / memory bandwidth up to about 250 tokens, 2 * tokens * features * k / tensor rate beyond.
#include <algorithm>
#include <cstdint>

#include "cuda/async_copy.cuh"
#include "cuda/gemm.h"
#include "cuda/launch.cuh"
#include "cuda/number_formats.cuh"
#include "cuda/tensor_map.h"
#include "cuda/wgmma.cuh"

namespace outrider::cuda {
namespace {

constexpr int kBlockBytes = 128;  // of K
constexpr int kMaxSplits = 3;
constexpr int kSplitBlocks = 264;

// kWarpgroups that multiply, 64 features each, by kTokens; one segment of K after the other (kWide), or each
// in a block of its own.
template <int kWarpgroups, int kTokens_, int kStages_, bool kWide_, typename Out>
struct Tile {
  static constexpr int kTokens = kTokens_, kStages = kStages_;
  static constexpr bool kWide = kWide_;
  static constexpr int kConsumers = kWarpgroups * 128;
  // A whole warpgroup gives its registers to the wide tile's consumers.
  static constexpr int kThreads = kConsumers + (kWide ? 128 : 32);
  static constexpr int kFeatures = kWarpgroups * kFeatureTile;
  static constexpr int kSums = kTokens / 2;  // accumulators of a thread
  static constexpr int kWeightBytes = kFeatures * kBlockBytes;
  static constexpr int kTokenBytes = kTokens * kBlockBytes;
  static constexpr int kStageBytes = kWeightBytes + (kTokenBytes + 1023) / 1024 * 1024;
  // A warpgroup's outputs on their way to memory; padded against bank conflicts. In a wide tile, before that,
  // its totals of the segments so far.
  static constexpr int kOutStride = kFeatureTile + 16 / static_cast<int>(sizeof(Out));
  static constexpr int kOutBytes = kTokens * kOutStride * static_cast<int>(sizeof(Out));
  static constexpr int kTotals = kSums * 128;  // floats
  static constexpr int kScratchBytes =
      (std::max(kOutBytes, kWide ? kTotals* static_cast<int>(sizeof(float)) : 0) + 15) / 16 * 16;
  static constexpr int kBarriers = 2 * kStages;
  static constexpr int kSharedBytes =
      1024 + kStages * kStageBytes + kWarpgroups * kScratchBytes + kBarriers * 8;
};

struct Shape {
  int groups, features, k_blocks, splits;
  const float* scales;
  const int32_t* token_begin;
  int tokens;  // where there is no token_begin
  SplitTotals split;
};

// One group's share of the tiles, as every thread needs it.
struct Schedule {
  int tile_begin[kMaxGroups + 1];
  int token_begin[kMaxGroups + 1];
};

struct Place {
  int group, feature, token, tokens_left;
};

template <typename T>
__device__ void make_schedule(const Shape& shape, Schedule& schedule) {
  const int feature_blocks = (shape.features + T::kFeatures - 1) / T::kFeatures;
  int tiles = 0, begin = shape.token_begin ? shape.token_begin[0] : 0;
  for (int g = 0; g < shape.groups; ++g) {
    const int end = shape.token_begin ? shape.token_begin[g + 1] : shape.tokens;
    schedule.tile_begin[g] = tiles;
    schedule.token_begin[g] = begin;
    tiles += (end - begin + T::kTokens - 1) / T::kTokens * feature_blocks;
    begin = end;
  }
  schedule.tile_begin[shape.groups] = tiles;
  schedule.token_begin[shape.groups] = begin;
}

template <int kFeatures, int kTokens>
__device__ __forceinline__ Place place_of(const Schedule& schedule, int tile) {
  Place place;
  place.group = 0;
  while (tile >= schedule.tile_begin[place.group + 1]) ++place.group;
  const int begin = schedule.token_begin[place.group], end = schedule.token_begin[place.group + 1];
  const int token_blocks = (end - begin + kTokens - 1) / kTokens;
  const int local = tile - schedule.tile_begin[place.group];
  place.feature = local / token_blocks * kFeatures;
  place.token = begin + local % token_blocks * kTokens;
  place.tokens_left = end - place.token;
  return place;
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

__device__ __forceinline__ int segment_begin(const Shape& shape, int segment) {
  return shape.k_blocks * segment / shape.splits;
}

// The copying thread: asks for every stage of every tile, in the consumers' order.
template <typename T>
__device__ void copy_tiles(const CUtensorMap& weights, const CUtensorMap& tokens, const Shape& shape,
                           const Schedule& schedule, const Barriers<T>& barriers, uint8_t* stages, int worker,
                           int workers, int segment) {
  const int tiles = schedule.tile_begin[shape.groups];
  const int k_begin = T::kWide ? 0 : segment_begin(shape, segment);
  const int k_end = T::kWide ? shape.k_blocks : segment_begin(shape, segment + 1);
  const auto copy_weights = [&](const Place& at, int k, int stage) {
    barrier_arrive_expecting(barriers.full(stage), T::kWeightBytes + T::kTokenBytes);
    const uint32_t to = shared_address(stages + stage * T::kStageBytes);
#pragma unroll
    for (int f = 0; f < T::kFeatures; f += kFeatureTile) {
      copy_box(to + f * kBlockBytes, &weights, k * kBlockBytes, at.group * shape.features + at.feature + f,
               barriers.full(stage), kEvictFirst);
    }
  };
  const auto copy_tokens = [&](const Place& at, int k, int stage) {
    copy_box(shared_address(stages + stage * T::kStageBytes) + T::kWeightBytes, &tokens, k * kBlockBytes,
             at.token, barriers.full(stage), kEvictLast);
  };

  Ring ring{0, 1};
  bool first = true;
  for (int tile = worker; tile < tiles; tile += workers) {
    const Place at = place_of<T::kFeatures, T::kTokens>(schedule, tile);
    int k = k_begin;
    if (first) {  // weights depend on no other kernel
      first = false;
      const int ahead = min(T::kStages, k_end - k_begin);
      for (int i = 0; i < ahead; ++i) copy_weights(at, k + i, i);
      wait_for_previous();
      for (int i = 0; i < ahead; ++i, ++k) {
        copy_tokens(at, k, i);
        ring.advance(T::kStages);
      }
    }
    for (; k < k_end; ++k) {
      barrier_wait(barriers.empty(ring.stage), ring.phase);
      copy_weights(at, k, ring.stage);
      copy_tokens(at, k, ring.stage);
      ring.advance(T::kStages);
    }
  }
}

// total = sum over `blocks` blocks of K from the ring's stages.
template <typename Element, typename T>
__device__ __forceinline__ void multiply(int blocks, const Barriers<T>& barriers, const uint8_t* stages,
                                         int warpgroup, Ring& ring, float (&total)[T::kSums]) {
  float even[T::kSums], odd[T::kSums];
  int released = ring.stage;
  const auto issue = [&](float(&sum)[T::kSums]) {
    barrier_wait(barriers.full(ring.stage), ring.phase);
    const uint32_t base = shared_address(stages + ring.stage * T::kStageBytes);
    const uint64_t a = swizzled_operand(base + warpgroup * kFeatureTile * kBlockBytes);
    const uint64_t b = swizzled_operand(base + T::kWeightBytes);
    pin(sum);
    wgmma_fence();
#pragma unroll
    for (int j = 0; j < 4; ++j) Wgmma<Element, T::kTokens>::run(sum, a + 2 * j, b + 2 * j, j > 0);
    wgmma_commit();
    ring.advance(T::kStages);
  };
  const auto absorb = [&](float(&sum)[T::kSums]) {
    pin(sum);
    if (threadIdx.x % 128 == 0) barrier_arrive(barriers.empty(released));
    if (++released == T::kStages) released = 0;
#pragma unroll
    for (int i = 0; i < T::kSums; ++i) total[i] += sum[i];
  };
#pragma unroll
  for (float& t : total) t = 0.0f;
  issue(even);
  for (int k = 1;; k += 2) {
    if (k == blocks) {
      wgmma_wait<0>();
      absorb(even);
      break;
    }
    issue(odd);
    wgmma_wait<1>();
    absorb(even);
    if (k + 1 == blocks) {
      wgmma_wait<0>();
      absorb(odd);
      break;
    }
    issue(even);
    wgmma_wait<1>();
    absorb(odd);
  }
}

// Leaves this segment's totals for the block that comes last; true there, with the sum of all. `arrived`:
// shared memory.
template <typename T>
__device__ __forceinline__ bool combine_totals(const Shape& shape, int tile, int segment, int* arrived,
                                               float (&total)[T::kSums]) {
  const int thread = threadIdx.x % 128;
  float* totals = shape.split.totals + int64_t{tile} * shape.splits * T::kTotals + thread;
  float* mine = totals + segment * T::kTotals;
#pragma unroll
  for (int i = 0; i < T::kSums; ++i) __stcg(mine + i * 128, total[i]);
  __threadfence();
  asm volatile("bar.sync 1, 128;" ::: "memory");
  if (thread == 0) {
    *arrived = atomicAdd(&shape.split.counts[tile], 1);
    if (*arrived + 1 == shape.splits) shape.split.counts[tile] = 0;  // for the next product
    __threadfence();
  }
  asm volatile("bar.sync 1, 128;" ::: "memory");
  if (*arrived + 1 < shape.splits) return false;
#pragma unroll
  for (int i = 0; i < T::kSums; ++i) total[i] = __ldcg(totals + i * 128);
  for (int s = 1; s < shape.splits; ++s) {
#pragma unroll
    for (int i = 0; i < T::kSums; ++i) total[i] += __ldcg(totals + s * T::kTotals + i * 128);
  }
  return true;
}

// Scales the totals and writes them, 16 bytes an access.
template <typename T, typename Out>
__device__ __forceinline__ void store_tile(const Shape& shape, const Place& at, int feature, int warpgroup,
                                           Out* out, Out* y, const float (&total)[T::kSums]) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const float scale =
      shape.scales ? shape.scales[(at.group * shape.features + feature) / kFeatureTile] : 1.0f;
  const int row = warp % 4 * 16 + lane / 4, column = lane % 4 * 2;
#pragma unroll
  for (int j = 0; j < T::kTokens / 8; ++j) {
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      out[(j * 8 + column + (q & 1)) * T::kOutStride + row + (q >> 1) * 8] =
          static_cast<Out>(scale * total[4 * j + q]);
    }
  }
  asm volatile("bar.sync %0, 128;" ::"r"(warpgroup + 1) : "memory");
  constexpr int kPerAccess = 16 / sizeof(Out), kAccesses = kFeatureTile / kPerAccess;
  for (int i = threadIdx.x % 128; i < T::kTokens * kAccesses; i += 128) {
    const int token = i / kAccesses, access = i % kAccesses;
    if (token < at.tokens_left) {
      *reinterpret_cast<int4*>(y + int64_t{at.token + token} * shape.features + feature +
                               access * kPerAccess) =
          *reinterpret_cast<const int4*>(out + token * T::kOutStride + access * kPerAccess);
    }
  }
  asm volatile("bar.sync %0, 128;" ::"r"(warpgroup + 1) : "memory");
}

template <typename Element, typename T, typename Out>
__global__ void __launch_bounds__(T::kThreads, 1)
    gemm_kernel(const __grid_constant__ CUtensorMap weights, const __grid_constant__ CUtensorMap tokens,
                Out* y, const Shape shape) {
  extern __shared__ uint8_t raw[];
  auto* stages = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(raw) + 1023) & ~uintptr_t{1023});
  uint8_t* scratches = stages + T::kStages * T::kStageBytes;
  const Barriers<T> barriers{shared_address(scratches + T::kConsumers / 128 * T::kScratchBytes)};
  __shared__ Schedule schedule;
  __shared__ int arrived;
  let_next_start();
  if (shape.groups > 1) wait_for_previous();  // the groups' bounds come from another kernel
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&weights);
    prefetch_tensor_map(&tokens);
    for (int stage = 0; stage < T::kStages; ++stage) {
      barrier_init(barriers.full(stage), 1);
      barrier_init(barriers.empty(stage), T::kConsumers / 128);
    }
    barrier_init_fence();
    make_schedule<T>(shape, schedule);
  }
  __syncthreads();
  const int blocks_a_tile = T::kWide ? 1 : shape.splits;
  const int segment = blockIdx.x % blocks_a_tile;
  const int worker = blockIdx.x / blocks_a_tile, workers = gridDim.x / blocks_a_tile;
  const int tiles = schedule.tile_begin[shape.groups];

  if (threadIdx.x >= T::kConsumers) {
    if constexpr (T::kWide) asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    if (threadIdx.x == T::kConsumers) {
      copy_tiles<T>(weights, tokens, shape, schedule, barriers, stages, worker, workers, segment);
    }
  } else {
    if constexpr (T::kWide) asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    const int warpgroup = threadIdx.x / 128;
    uint8_t* scratch = scratches + warpgroup * T::kScratchBytes;
    wait_for_previous();
    Ring ring{0, 0};
    for (int tile = worker; tile < tiles; tile += workers) {
      const Place at = place_of<T::kFeatures, T::kTokens>(schedule, tile);
      const int feature = at.feature + warpgroup * kFeatureTile;
      float total[T::kSums];
      bool complete = true;
      if constexpr (T::kWide) {
        for (int s = 0; s < shape.splits; ++s) {
          multiply<Element, T>(segment_begin(shape, s + 1) - segment_begin(shape, s), barriers, stages,
                               warpgroup, ring, total);
          float* mine = reinterpret_cast<float*>(scratch) + threadIdx.x % 128;
          if (s > 0) {
#pragma unroll
            for (int i = 0; i < T::kSums; ++i) total[i] = mine[i * 128] + total[i];
          }
          if (s + 1 < shape.splits) {
#pragma unroll
            for (int i = 0; i < T::kSums; ++i) mine[i * 128] = total[i];
          }
        }
        asm volatile("bar.sync %0, 128;" ::"r"(warpgroup + 1)
                     : "memory");  // all have read: the room is for outputs now
      } else {
        multiply<Element, T>(segment_begin(shape, segment + 1) - segment_begin(shape, segment), barriers,
                             stages, warpgroup, ring, total);
        if (shape.splits > 1) complete = combine_totals<T>(shape, tile, segment, &arrived, total);
      }
      // The second warpgroup of an odd number of feature blocks has nothing to write.
      if (complete && feature < shape.features) {
        store_tile<T>(shape, at, feature, warpgroup, reinterpret_cast<Out*>(scratch), y, total);
      }
    }
  }
}

// Token tiles: measured best of the shapes tried on an H200.
constexpr int kTokenTiles[3] = {16, 64, 128};

template <typename Element, typename Out>
struct Kernels {
  using Small = Tile<1, 16, 10, false, Out>;
  using Middle = Tile<1, 64, 5, false, Out>;
  using Wide = Tile<2, 128, 4, true, Out>;

  template <typename T>
  static void prepare_one() {
    check(cudaFuncSetAttribute(gemm_kernel<Element, T, Out>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               T::kSharedBytes),
          "shared memory of gemm");
  }
  static void prepare() {
    prepare_one<Small>();
    prepare_one<Middle>();
    prepare_one<Wide>();
  }

  template <typename T>
  static void run_tile(const GemmCall& call, const CUtensorMap& tokens, int blocks, cudaStream_t stream) {
    const GemmWeights& w = *call.w;
    const int block = w.type == ElementType::kFp8 ? kBlockBytes : kBlockBytes / 2;
    const Shape shape{w.groups, w.features,       w.k / block,         w.splits,
                      w.scales, call.token_begin, call.tokens_a_group, call.split};
    const int blocks_a_tile = T::kWide ? 1 : w.splits;
    if (w.groups == 1) {  // no more blocks than there is work for
      const int tiles = (w.features + T::kFeatures - 1) / T::kFeatures *
                        ((call.tokens_a_group + T::kTokens - 1) / T::kTokens);
      blocks = std::min(blocks, tiles * blocks_a_tile);
    }
    launch(gemm_kernel<Element, T, Out>, blocks / blocks_a_tile * blocks_a_tile, T::kThreads, T::kSharedBytes,
           stream, w.tensor, tokens, static_cast<Out*>(call.y), shape);
  }

  static void run(const GemmCall& call, int num_sms, cudaStream_t stream) {
    if (call.tokens_a_group <= 16) {
      run_tile<Small>(call, call.x->tensor[0], 2 * num_sms, stream);
    } else if (call.tokens_a_group <= 64) {
      run_tile<Middle>(call, call.x->tensor[1], 2 * num_sms, stream);
    } else {
      run_tile<Wide>(call, call.x->tensor[2], num_sms, stream);
    }
  }
};

int element_bytes(ElementType type) { return type == ElementType::kFp8 ? 1 : 2; }

// Segments of K, so that one token tile's blocks fill most of 2 x 132. A property of the matrix alone: it
// decides the order of sums. Groups have enough tiles.
int splits_of(int groups, int features, int k_blocks) {
  if (groups > 1) return 1;
  return std::clamp(kSplitBlocks / (features / kFeatureTile), 1,
                    std::min(kMaxSplits, std::max(1, k_blocks / 8)));
}

}  // namespace

GemmWeights make_gemm_weights(ElementType type, const void* data, int groups, int features, int k,
                              const float* scales) {
  GemmWeights w{type, data, groups, features, k, 1, scales, {}};
  w.splits = splits_of(groups, features, k * element_bytes(type) / kBlockBytes);
  w.tensor =
      make_tensor_map(data, int64_t{groups} * features, int64_t{k} * element_bytes(type), kFeatureTile);
  return w;
}

GemmInput make_gemm_input(ElementType type, const void* data, int64_t max_tokens, int k) {
  GemmInput x;
  for (int i = 0; i < 3; ++i) {
    x.tensor[i] = make_tensor_map(data, max_tokens, int64_t{k} * element_bytes(type), kTokenTiles[i]);
  }
  return x;
}

void gemm(const GemmCall& call, int num_sms, cudaStream_t stream) {
  const bool fp8 = call.w->type == ElementType::kFp8;
  if (fp8 && call.output == OutputType::kBf16) return Kernels<Fp8, bf16>::run(call, num_sms, stream);
  if (!fp8 && call.output == OutputType::kBf16) return Kernels<Bf16, bf16>::run(call, num_sms, stream);
  if (!fp8 && call.output == OutputType::kF32) return Kernels<Bf16, float>::run(call, num_sms, stream);
  Kernels<Fp8, float>::run(call, num_sms, stream);
}

size_t SplitTotals::total_bytes() {
  return sizeof(float) * kSplitBlocks * Tile<1, 64, 5, false, bf16>::kTotals;
}
size_t SplitTotals::count_bytes() { return sizeof(int32_t) * kSplitBlocks; }

void prepare_gemm() {
  Kernels<Fp8, bf16>::prepare();
  Kernels<Fp8, float>::prepare();
  Kernels<Bf16, bf16>::prepare();
  Kernels<Bf16, float>::prepare();
}

}  // namespace outrider::cuda

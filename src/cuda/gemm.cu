// The weights are operand A (64 features a warpgroup), the tokens operand B: with few tokens the tensor cores
// still get full rows, and a step is a stream of weights. One warp asks the copy engine for blocks of 128
// bytes of K, several stages ahead; one or two warpgroups multiply. The grid is persistent: tiles of (feature
// block, token block) are dealt out with the token blocks of one feature block next to each other, so that
// the L2 cache serves its weights to all of them.
//
// Each K block's product is added to fp32 totals in registers: FP8 products accumulate in about 14 bits
// inside the tensor cores, which over 5120 terms would cost 3e-3 to 8e-3 of the result.
//
// Floor: weights / memory bandwidth up to about 250 tokens, 2 * tokens * features * k / tensor rate beyond.
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

template <int kWarpgroups, int kTokens, int kStages, typename Out>
struct Tile {
  static constexpr int kThreads = kWarpgroups * 128 + 32;
  static constexpr int kFeatures = kWarpgroups * kFeatureTile;
  static constexpr int kWeightBytes = kFeatures * kBlockBytes;
  static constexpr int kTokenBytes = kTokens * kBlockBytes;
  static constexpr int kStageBytes = kWeightBytes + (kTokenBytes + 1023) / 1024 * 1024;
  static constexpr int kOutStride =
      kFeatureTile + 16 / static_cast<int>(sizeof(Out));  // elements; avoids bank conflicts
  static constexpr int kOutBytes = kWarpgroups * kTokens * kOutStride * static_cast<int>(sizeof(Out));
  static constexpr int kSharedBytes = 1024 + kStages * kStageBytes + kOutBytes + 2 * kStages * 8;
};

struct Shape {
  int groups, features, k_blocks;
  const float* scales;
  const int32_t* token_begin;
  int tokens;  // where there is no token_begin
};

// One group's share of the tiles, as every thread needs it.
struct Schedule {
  int tile_begin[kMaxGroups + 1];
  int token_begin[kMaxGroups + 1];
};

struct Place {
  int group, feature, token, tokens_left;
};

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

template <typename Element, int kWarpgroups, int kTokens, int kStages, typename Out>
__global__ void __launch_bounds__(kWarpgroups * 128 + 32, 1)
    gemm_kernel(const __grid_constant__ CUtensorMap weights, const __grid_constant__ CUtensorMap tokens,
                Out* y, const Shape shape) {
  using T = Tile<kWarpgroups, kTokens, kStages, Out>;
  extern __shared__ uint8_t raw[];
  auto* stages = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(raw) + 1023) & ~uintptr_t{1023});
  auto* staging = reinterpret_cast<Out*>(stages + kStages * T::kStageBytes);
  const uint32_t barriers = shared_address(stages + kStages * T::kStageBytes + T::kOutBytes);
  const auto full = [&](int stage) { return barriers + 8 * stage; };
  const auto empty = [&](int stage) { return barriers + 8 * (kStages + stage); };
  __shared__ Schedule schedule;

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int feature_blocks = (shape.features + T::kFeatures - 1) / T::kFeatures;
  wait_for_previous();
  let_next_start();
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      barrier_init(full(stage), 1);
      barrier_init(empty(stage), kWarpgroups);
    }
    barrier_init_fence();
    int tiles = 0, begin = shape.token_begin ? shape.token_begin[0] : 0;
    for (int g = 0; g < shape.groups; ++g) {
      const int end = shape.token_begin ? shape.token_begin[g + 1] : shape.tokens;
      schedule.tile_begin[g] = tiles;
      schedule.token_begin[g] = begin;
      tiles += (end - begin + kTokens - 1) / kTokens * feature_blocks;
      begin = end;
    }
    schedule.tile_begin[shape.groups] = tiles;
    schedule.token_begin[shape.groups] = begin;
  }
  __syncthreads();
  const int tiles = schedule.tile_begin[shape.groups];

  if (warp == kWarpgroups * 4) {  // producer
    if (lane != 0) return;
    int stage = 0, phase = 1;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      const Place at = place_of<T::kFeatures, kTokens>(schedule, tile);
      for (int k = 0; k < shape.k_blocks; ++k) {
        barrier_wait(empty(stage), phase);
        barrier_arrive_expecting(full(stage), T::kWeightBytes + T::kTokenBytes);
        const uint32_t to = shared_address(stages + stage * T::kStageBytes);
        for (int w = 0; w < kWarpgroups; ++w) {
          copy_box(to + w * kFeatureTile * kBlockBytes, &weights, k * kBlockBytes,
                   at.group * shape.features + at.feature + w * kFeatureTile, full(stage), kEvictFirst);
        }
        copy_box(to + T::kWeightBytes, &tokens, k * kBlockBytes, at.token, full(stage), kEvictLast);
        if (++stage == kStages) stage = 0, phase ^= 1;
      }
    }
    return;
  }

  const int warpgroup = warp / 4;
  Out* const out = staging + warpgroup * kTokens * T::kOutStride;
  int stage = 0, phase = 0;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const Place at = place_of<T::kFeatures, kTokens>(schedule, tile);
    float total[kTokens / 2] = {};
    for (int k = 0; k < shape.k_blocks; ++k) {
      barrier_wait(full(stage), phase);
      const uint32_t base = shared_address(stages + stage * T::kStageBytes);
      const uint64_t a = swizzled_operand(base + warpgroup * kFeatureTile * kBlockBytes);
      const uint64_t b = swizzled_operand(base + T::kWeightBytes);
      float sum[kTokens / 2];
      pin(sum);
      wgmma_fence();
#pragma unroll
      for (int j = 0; j < 4; ++j) Wgmma<Element, kTokens>::run(sum, a + 2 * j, b + 2 * j, j > 0);
      wgmma_commit();
      wgmma_wait<0>();
      pin(sum);
      if (threadIdx.x % 128 == 0) barrier_arrive(empty(stage));
#pragma unroll
      for (int i = 0; i < kTokens / 2; ++i) total[i] += sum[i];
      if (++stage == kStages) stage = 0, phase ^= 1;
    }

    const int feature = at.feature + warpgroup * kFeatureTile;
    if (feature >= shape.features)
      continue;  // the second warpgroup of an odd number of blocks; uniform in the warpgroup
    const float scale =
        shape.scales ? shape.scales[(at.group * shape.features + feature) / kFeatureTile] : 1.0f;
    const int row = warp % 4 * 16 + lane / 4, column = lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kTokens / 8; ++j) {
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        out[(j * 8 + column + (q & 1)) * T::kOutStride + row + (q >> 1) * 8] =
            static_cast<Out>(scale * total[4 * j + q]);
      }
    }
    asm volatile("bar.sync %0, 128;" ::"r"(warpgroup + 1) : "memory");
    constexpr int kVector = 16 / sizeof(Out), kVectors = kFeatureTile / kVector;
    for (int i = threadIdx.x % 128; i < kTokens * kVectors; i += 128) {
      const int token = i / kVectors, vector = i % kVectors;
      if (token < at.tokens_left) {
        *reinterpret_cast<int4*>(y + int64_t{at.token + token} * shape.features + feature +
                                 vector * kVector) =
            *reinterpret_cast<const int4*>(out + token * T::kOutStride + vector * kVector);
      }
    }
    asm volatile("bar.sync %0, 128;" ::"r"(warpgroup + 1) : "memory");
  }
}

// Token tiles, and for each the rest of the tile: measured best of the shapes tried on an H200.
constexpr int kTokenTiles[3] = {16, 64, 128};

template <typename Element, typename Out>
struct Kernels {
  static constexpr int kStagesWide = sizeof(Out) == 4 ? 4 : 5;  // what the output staging leaves of 227 KiB
  using Small = Tile<1, 16, 10, Out>;
  using Middle = Tile<1, 64, 6, Out>;
  using Wide = Tile<2, 128, kStagesWide, Out>;
  static constexpr auto kSmall = gemm_kernel<Element, 1, 16, 10, Out>;
  static constexpr auto kMiddle = gemm_kernel<Element, 1, 64, 6, Out>;
  static constexpr auto kWide = gemm_kernel<Element, 2, 128, kStagesWide, Out>;

  static void prepare() {
    const auto allow = [](auto kernel, int bytes) {
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
            "shared memory of gemm");
    };
    allow(kSmall, Small::kSharedBytes);
    allow(kMiddle, Middle::kSharedBytes);
    allow(kWide, Wide::kSharedBytes);
  }

  static void run(const GemmCall& call, int num_sms, cudaStream_t stream) {
    const GemmWeights& w = *call.w;
    const int block = w.type == ElementType::kFp8 ? kBlockBytes : kBlockBytes / 2;
    const Shape shape{w.groups, w.features, w.k / block, w.scales, call.token_begin, call.tokens_a_group};
    auto* y = static_cast<Out*>(call.y);
    const auto go = [&](auto kernel, auto tile, int tokens, int blocks_an_sm) {
      using T = decltype(tile);
      launch(kernel, num_sms * blocks_an_sm, T::kThreads, T::kSharedBytes, stream, w.tensor,
             call.x->tensor[tokens], y, shape);
    };
    if (call.tokens_a_group <= 16) {
      go(kSmall, Small{}, 0, 2);
    } else if (call.tokens_a_group <= 64) {
      go(kMiddle, Middle{}, 1, 2);
    } else {
      go(kWide, Wide{}, 2, 1);
    }
  }
};

int element_bytes(ElementType type) { return type == ElementType::kFp8 ? 1 : 2; }

}  // namespace

GemmWeights make_gemm_weights(ElementType type, const void* data, int groups, int features, int k,
                              const float* scales) {
  GemmWeights w{type, data, groups, features, k, scales, {}};
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

void prepare_gemm() {
  Kernels<Fp8, bf16>::prepare();
  Kernels<Fp8, float>::prepare();
  Kernels<Bf16, bf16>::prepare();
  Kernels<Bf16, float>::prepare();
}

}  // namespace outrider::cuda

// The weights are operand A (64 features a warpgroup), the tokens operand B: with few tokens the tensor cores
// still get full rows, and a step is a stream of weights. Two warps ask the copy engine for blocks of 128
// bytes of K, several stages ahead, one for weights, and that before the kernels that make the tokens have
// ended, one for tokens; one warpgroup multiplies, or two with 64 features each. The grid is persistent:
// tiles of (feature block, token block) are dealt out with the token blocks of one feature block next to each
// other, so that the L2 cache serves its weights to all of them.
//
// A matrix with too few feature blocks for the device has its K cut into segments (GemmWeights::splits). The
// tiles that would leave part of the grid idle are dealt out by segment; the block of a tile's last segment
// adds all totals. Other tiles go through the segments one after the other. Both add the same totals in the
// same order (gemm_order.h).
//
// Where a group that takes every token (the shared expert) is multiplied beside groups that share them, tiles
// of two widths go through the same stages. The first has its tiles evenly between the others', of 32 or 64
// tokens however many there are: wider ones need larger stages, and fewer of them bring less from memory.
//
// Floor: weights / memory bandwidth up to about 250 tokens, 2 * tokens * features * k / tensor rate beyond.
#include <algorithm>
#include <cstdint>

#include "cuda/async_copy.cuh"
#include "cuda/gemm.h"
#include "cuda/gemm_epilogue.cuh"
#include "cuda/gemm_order.h"
#include "cuda/gemm_tiles.cuh"
#include "cuda/gemm_wide.h"
#include "cuda/launch.cuh"
#include "cuda/tensor_map.h"
#include "cuda/wgmma.cuh"

namespace outrider::cuda {
namespace {

using namespace narrow;

template <typename Element, typename T>
__global__ void __launch_bounds__(T::kThreads, T::kBlocksAnSm)
    gemm_kernel(const __grid_constant__ TokenMaps tokens, const __grid_constant__ Shape shape) {
  extern __shared__ uint8_t raw[];
  const auto [stages, scratch, barriers] = parts_of<T>(raw, T::kWarpgroups * T::kScratchBytes);
  __shared__ Schedule schedule;
  const int copier = static_cast<int>(threadIdx.x / 32) - T::kConsumers / 32;  // 0: of weights, 1: of tokens
  WeightCopier<T> weights(shape, barriers, stages);
  if (copier == 0) {
    if (elected()) {
      init(barriers);
      // The shared matrix's tiles come first.
      const int feature = static_cast<int>(blockIdx.x) * T::kFeatures;
      if (shape.few.expert_of_pair && !shape.groups_known && shape.splits == 1 &&
          feature < shape.output.features) {
        weights.copy_ahead(0, feature, 0, shape.k_blocks);
      }
    }
    __syncwarp();
    // The groups' bounds come from another kernel; a single group's are as old as the step.
    if (shape.groups > 1 && !shape.groups_known) wait_for_previous();
    make_schedule<T>(shape, gridDim.x, schedule);
  } else if (copier == 1 && elected()) {
    prefetch_tensor_map(&tokens.rest);
    if (T::kMixed) prefetch_tensor_map(&tokens.first);
  }
  __syncthreads();

  if (copier >= 0) {
    if constexpr (T::kWarpgroups > 1) asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (copier == 0 && elected()) weights.run(schedule);
    if (copier == 1 && elected()) {
      wait_for_previous();
      copy_tokens<T>(tokens, shape, schedule, barriers, stages);
    }
  } else {
    if constexpr (T::kWarpgroups > 1) asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    wait_for_previous();
    let_next_start();
    multiply_tiles<Element, T>(shape, schedule, barriers, stages, scratch);
  }
}

template <typename Element, Epilogue kEpilogue>
struct Kernels {
  using Tile8 = Tile<8, 1, kStages8, kEpilogue>;
  using Tile16 = Tile<16, 1, kStages16, kEpilogue>;
  using Tile32 = Tile<32, 2, kEpilogue == Epilogue::kF32 ? 8 : 9, kEpilogue>;
  using Tile64 = Tile<64, 2, kEpilogue == Epilogue::kF32 ? 7 : 8, kEpilogue>;
  using Tile64Half = Tile<64, 1, 5, kEpilogue>;
  using Tile96 = Tile<96, 2, kEpilogue == Epilogue::kF32 ? 6 : 7, kEpilogue>;
  using Tile128 = Tile<128, 2, kEpilogue == Epilogue::kF32 ? 5 : 6, kEpilogue>;

  // For up to so many tokens of group 0, which takes all, and at least twice an even share of each other:
  // one that has more has its weights read again.
  static constexpr bool kMixes = kEpilogue != Epilogue::kF32;
  using Mixed64 = Tile<16, 2, 10, kEpilogue, 32>;
  using Mixed256 = Tile<32, 2, 8, kEpilogue, 64>;

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
    prepare_one<Tile64Half>();
    prepare_one<Tile96>();
    prepare_one<Tile128>();
    if constexpr (kMixes) {
      prepare_one<Mixed64>();
      prepare_one<Mixed256>();
    }
  }

  template <typename T>
  static void run_tile(const GemmCall& call, int num_sms, cudaStream_t stream) {
    const GemmWeights& w = *call.w;
    int blocks = T::kBlocksAnSm * num_sms;
    if (w.groups == 1) {  // no more blocks than there is work for
      const int tiles = (w.features + T::kFeatures - 1) / T::kFeatures *
                        ((call.tokens_a_group + T::kTokens - 1) / T::kTokens);
      blocks = std::min(blocks, tiles * w.splits);
    }
    launch(gemm_kernel<Element, T>, blocks, T::kThreads, T::kSharedBytes, stream,
           TokenMaps{call.x->tensor[token_map(T::kTokens)], call.x->tensor[token_map(T::kFirstTokens)]},
           shape_of(call));
  }

  static void run(const GemmCall& call, int num_sms, cudaStream_t stream) {
    const int tokens = call.tokens_a_group;
    if constexpr (kMixes) {
      if (call.first_takes_all) {
        if (tokens <= 64) return run_tile<Mixed64>(call, num_sms, stream);
        return run_tile<Mixed256>(call, num_sms, stream);
      }
    }
    if (tokens <= 8) return run_tile<Tile8>(call, num_sms, stream);
    if (tokens <= 16) return run_tile<Tile16>(call, num_sms, stream);
    if (tokens <= 32) return run_tile<Tile32>(call, num_sms, stream);
    if (tokens <= 64) return run_tile<Tile64>(call, num_sms, stream);
    // Where K has segments, tiles of 128 features would leave half of the device idle.
    if (tokens <= 128 && call.w->splits > 1) return run_tile<Tile64Half>(call, num_sms, stream);
    if (time_of<Tile96>(call, num_sms) < time_of<Tile128>(call, num_sms))
      return run_tile<Tile96>(call, num_sms, stream);
    run_tile<Tile128>(call, num_sms, stream);
  }

  // To compare tiles of one block an SM by: the rounds of tiles, and a round's time, which follows the bytes
  // that a block of K brings rather than its operations.
  template <typename T>
  static int time_of(const GemmCall& call, int num_sms) {
    const int tiles = (call.w->features + T::kFeatures - 1) / T::kFeatures *
                      ((call.tokens_a_group + T::kTokens - 1) / T::kTokens);
    return (tiles + num_sms - 1) / num_sms * T::kStageBytes;
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
  for (int i = 0; i < kWideTiles; ++i)
    x.wide.half[i] = make_tensor_map(data, max_tokens, row_bytes, (i + 1) * kTokenStep / 2);
  return x;
}

void gemm(const GemmCall& call, int num_sms, cudaStream_t stream) {
  const int alike = call.first_takes_all ? 1 : call.w->groups;  // groups of so many tokens
  if (!is_narrow(alike, call.tokens_a_group)) return gemm_wide(call, num_sms, stream);
  with_kernel_of(call, [&]<typename Element, Epilogue kEpilogue>() {
    Kernels<Element, kEpilogue>::run(call, num_sms, stream);
  });
}

size_t SplitTotals::bytes() { return sizeof(float) * kTotalFloats + sizeof(int32_t); }

SplitTotals SplitTotals::in(void* memory) {
  auto* totals = static_cast<float*>(memory);
  auto* next_tile = reinterpret_cast<int32_t*>(totals + kTotalFloats);
  check(cudaMemset(totals, kAbsent & 0xff, sizeof(float) * kTotalFloats), "cudaMemset");
  check(cudaMemset(next_tile, 0, sizeof(int32_t)), "cudaMemset");
  return {totals, next_tile};
}

void prepare_gemm() {
  prepare_gemm_wide();
  with_every_kernel([&]<typename Element, Epilogue kEpilogue>() { Kernels<Element, kEpilogue>::prepare(); });
}

}  // namespace outrider::cuda

// Tiles of 128 features x up to 192 tokens for prompts.
//
// Tiling: a cluster of two blocks takes 256 features and one run of tokens. Each block copies its own weights
// and half of the tokens, which the copy engine writes into both: 28 KB per block and 128 bytes of K for 768
// clocks of tensor cores, where a block alone would need 40 KB. In a block two warpgroups multiply, 64
// features each, and a thread of each of three warps copies (gemm_wide_copier.cuh), five blocks of K ahead or
// up to ten where a tile is narrow; the fourth warp plans. Accumulators of one interval (gemm_order.h) lie
// beside the totals, and where K has segments beside the sum of those before, so that what becomes of a
// finished total (adding it to that sum, writing it out) happens while the next interval multiplies: it has
// to take no longer than two blocks of K do. There is one copy of that code for all widths, for the sake of
// the instruction caches. A group's tokens are cut into equal tiles, in steps of 32; what is left over is a
// narrower tile. The grid is persistent. A cluster draws its next tile from a counter when it begins one, so
// that narrow and wide ones, and those that wait for memory and those that do not, need no even hand. Tiles
// lie in bands of 8 token tiles, so that the clusters at work share weights and tokens in the L2 cache, and a
// group's narrower ones last.
//
// Narrow tiles are limited by shared memory, which gives 128 bytes a clock: a block of K is written once, and
// its tokens are read by both warpgroups. With nothing but copies and products the tensor cores are busy 97 %
// of the time with 192 tokens, 94 % with 160, 91 % with 128, 83 % with 96 and 62 % with 64. With thousands of
// tokens power is the limit, too: 1.3 GHz are left.
//
// Floor: 2 * tokens * features * k / tensor rate (1500 TFLOP/s for FP8, at the clock that power leaves);
// weights / memory bandwidth for groups of fewer than 250 tokens.
#include <algorithm>
#include <cstdint>

#include "cuda/async_copy.cuh"
#include "cuda/cluster.cuh"
#include "cuda/gemm_epilogue.cuh"
#include "cuda/gemm_order.h"
#include "cuda/gemm_wide.h"
#include "cuda/gemm_wide_copier.cuh"
#include "cuda/gemm_wide_tiles.cuh"
#include "cuda/launch.cuh"
#include "cuda/number_formats.cuh"
#include "cuda/wgmma.cuh"

namespace outrider::cuda {
namespace {

using namespace wide;

// One of the warpgroups that multiply.
template <typename Element, Epilogue kEpilogue, bool kSegments>
class Consumer {
  static constexpr int kWidest = widest_tile(kEpilogue, kSegments), kSums = kWidest / 2;  // of a thread
  using Sums = float[kSums];

 public:
  __device__ __forceinline__ Consumer(const Shape& shape, Control& control, uint32_t ring_memory,
                                      uint32_t scratch)
      : shape_(shape),
        control_(control),
        scratch_(scratch),
        warpgroup_(uniform(threadIdx.x / 128)),
        thread_(threadIdx.x % 128),
        weights_(operand_low(ring_memory + warpgroup_ * kFeatureTile * kBlockBytes)),
        tokens_(operand_low(ring_memory + kWeightBytes)),
        ring_{kRingBytes / 16} {}

  __device__ __forceinline__ void run() {
    Sums sum, total, segments;  // of an interval, a segment, those before it
    clear(total);
    if (kSegments) clear(segments);
#pragma unroll 1
    for (;;) {
      barrier_wait(at(control_.tile_told[tile_.slot]), tile_.parity);
      const int tokens = told(control_.tile[tile_.slot].tokens);
      if (tokens == 0) break;
#pragma unroll 1
      for (int s = 0; s < splits(); ++s) {
        int blocks =
            segment_begin(shape_.k_blocks, splits(), s + 1) - segment_begin(shape_.k_blocks, splits(), s);
#pragma unroll 1
        for (; blocks > 0; blocks -= kIntervalBlocks) {
          const int count = min(kIntervalBlocks, blocks);
          for_tokens(tokens, [&]<int kTokens>() { begin_interval<kTokens>(count, sum); });
          if (finished_segment_ >= 0) {  // what can wait until enough is multiplying
            finish_segment(total, segments);
            finished_segment_ = -1;
          }
          for_tokens(tokens, [&]<int kTokens>() { end_interval<kTokens>(count, sum, total); });
        }
        finished_segment_ = s;
      }
      tile_.advance();
    }
    if (finished_segment_ >= 0) finish_segment(total, segments);
  }

 private:
  __device__ __forceinline__ int splits() const { return kSegments ? shape_.splits : 1; }
  // Calls run<tokens>(). The widest first: it has the least time for a jump by a table.
  template <typename Run>
  static __device__ __forceinline__ void for_tokens(int tokens, const Run& run) {
    constexpr int kNext = kWidest - kTokenStep;
    if (tokens == kWidest) return run.template operator()<kWidest>();
    switch (tokens) {
      case 32:
        return run.template operator()<32>();
      case 64:
        return run.template operator()<64>();
      case 96:
        return run.template operator()<96>();
      case 128:
        return run.template operator()<std::min(128, kNext)>();
      default:
        return run.template operator()<kNext>();
    }
  }
  // What the copier wrote: by one lane of each warp, which gives the slot back itself.
  __device__ __forceinline__ int told(const int& value) const {
    return uniform(thread_ % 32 == 0 ? value : 0);
  }
  __device__ __forceinline__ void sync() const {
    asm volatile("bar.sync %0, 128;" ::"r"(warpgroup_ + 1) : "memory");
  }
  // The zero is hidden from the compiler, which would put totals that it can clear as memory into memory.
  static __device__ __forceinline__ void clear(Sums& total) {
    float zero;
    asm volatile("mov.b32 %0, 0;" : "=f"(zero));
#pragma unroll
    for (int i = 0; i < kSums; ++i) total[i] = zero;
  }
  // Asked before a wait that takes longer than the answer.
  __device__ __forceinline__ bool next_is_there() const {
    return barrier_done(at(control_.full[full_.slot]), full_.parity);
  }
  template <int kTokens>
  __device__ __forceinline__ void multiply_block(Sums& sum, bool accumulate, bool is_there) {
    const uint32_t place = ring_.place(block_bytes(kTokens) / 16);
    if (!is_there) [[unlikely]]
      barrier_wait(at(control_.full[full_.slot]), full_.parity);
    wgmma_fence();
    wgmma_block<Element, kTokens>(sum, weights_ + place, tokens_ + place, accumulate);
    wgmma_commit();
    full_.advance();
  }
  __device__ __forceinline__ void release() {
    if (thread_ < kCluster) barrier_arrive_in_cluster(at(control_.empty[reading_]), thread_);
    if (++reading_ == kMaxBlocks) reading_ = 0;
  }

  // The first two blocks of an interval.
  template <int kTokens>
  __device__ __forceinline__ void begin_interval(int blocks, Sums& sum) {
    pin(sum);
    multiply_block<kTokens>(sum, false, false);
    if (blocks > 1) multiply_block<kTokens>(sum, true, next_is_there());
  }
  template <int kTokens>
  __device__ __forceinline__ void end_interval(int blocks, Sums& sum, Sums& total) {
#pragma unroll
    for (int b = 2; b < kIntervalBlocks; ++b) {
      if (b >= blocks) break;
      const bool is_there = next_is_there();
      wgmma_wait<1>();
      release();
      multiply_block<kTokens>(sum, true, is_there);
    }
    if (blocks > 1) {
      wgmma_wait<1>();
      release();
    }
    wgmma_wait<0>();
    release();
    pin(sum);
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) total[i] += sum[i];
  }

  __device__ __forceinline__ void finish_segment(Sums& total, Sums& segments) {
    if constexpr (kSegments) {
#pragma unroll
      for (int i = 0; i < kSums; ++i) segments[i] += total[i];
      if (finished_segment_ + 1 == splits()) {
        clear(total);  // which leaves its registers to what follows
        finish_tile(segments);
        clear(segments);
      } else {
        clear(total);
      }
    } else {
      finish_tile(total);
      clear(total);
    }
  }
  // When the next one has begun.
  __device__ __forceinline__ void finish_tile(const Sums& total) {
    const int slot = tile_.slot == 0 ? kTileSlots - 1 : tile_.slot - 1;
    const Place& tile = control_.tile[slot];
    store(total, {told(tile.group), told(tile.feature), told(tile.token), told(tile.outputs)});
    if (thread_ % 32 == 0) barrier_arrive(at(control_.tile_read[slot]));
  }

  // Scales the totals and writes them.
  __device__ __forceinline__ void store(const Sums& total, const Place& tile) {
    const int feature = tile.feature + cluster_rank() * kBlockFeatures + warpgroup_ * kFeatureTile;
    if (feature >= shape_.features) return;  // of a number of feature tiles that clusters do not divide
    const Output& out = shape_.output;
    const int scale_at = (tile.group * shape_.features + feature) / kFeatureTile;
    if constexpr (is_gated(kEpilogue)) {
      store_gated(total, tile, feature, scale_at);
    } else {
      const float scale = out.scales ? out.scales[scale_at] : 1.0f;
      if constexpr (kEpilogue == Epilogue::kBf16) store_bf16(total, tile, feature, scale);
      if constexpr (kEpilogue == Epilogue::kF32) store_f32(total, tile, feature, scale);
    }
  }

  // Totals go to memory by way of the scratch, so that a token's features are written in one go: put(totals
  // of kTokenStep tokens, their place in the scratch).
  using OutRow = OutputRow<kEpilogue>;
  template <typename Put>
  __device__ __forceinline__ void store_pieces(const Sums& total, const Place& tile, int feature,
                                               const Put& put) const {
    constexpr int kAccesses = OutRow::kBytes / 16;
    constexpr int kRows = kScratchBytes / (kTokenStep * OutRow::kStride) * kTokenStep;  // that fit there
    const int y_stride = shape_.features / kFeatureTile * OutRow::kBytes;
    uint8_t* y = static_cast<uint8_t*>(shape_.output.y) + int64_t{tile.token} * y_stride +
                 feature / kFeatureTile * OutRow::kBytes;
    int row = 0;  // in the scratch
    sync();       // all have read what lay there
#pragma unroll 1
    for (int first = 0; first < tile.outputs; first += kTokenStep) {
      float part[kTokenStep / 2];
      take(total, first / kTokenStep, part);
      put(part, scratch_ + row * OutRow::kStride);
      row += kTokenStep;
      const int left = tile.outputs - first - kTokenStep;
      if (row < kRows && left > 0) continue;
      sync();
      const int accesses = min(row + left, row) * kAccesses;
#pragma unroll 1
      for (int i = thread_; i < accesses; i += 128) {
        const int token = i / kAccesses, access = i % kAccesses * 16;
        *reinterpret_cast<int4*>(y + (token * y_stride + access)) =
            load_shared_16(scratch_ + token * OutRow::kStride + access);
      }
      if (left > 0) sync();
      y += row * y_stride;
      row = 0;
    }
  }
  // The piece-th part of the totals: registers cannot be counted through.
  static __device__ __forceinline__ void take(const Sums& total, int piece, float (&part)[kTokenStep / 2]) {
    for_tokens((piece + 1) * kTokenStep, [&]<int kTokens>() {
#pragma unroll
      for (int i = 0; i < kTokenStep / 2; ++i) part[i] = total[(kTokens - kTokenStep) / 2 + i];
    });
  }

  __device__ __forceinline__ void store_gated(const Sums& total, const Place& tile, int feature,
                                              int scale_at) const {
    using Value = typename Gating<kEpilogue>::Value;
    const Gating<kEpilogue> gated(shape_.output, tile.group, scale_at);
    const int mine = thread_ % 4 * 2 * OutRow::kStride +
                     (thread_ / 32 * 8 + thread_ % 32 / 4) * static_cast<int>(sizeof(Value));
    store_pieces(total, tile, feature, [&](const float(&part)[kTokenStep / 2], uint32_t to) {
#pragma unroll
      for (int j = 0; j < kTokenStep / 8; ++j) {
#pragma unroll
        for (int c = 0; c < 2; ++c)
          store_shared(to + mine + (j * 8 + c) * OutRow::kStride,
                       gated(part[4 * j + c], part[4 * j + c + 2]));
      }
    });
  }

  // By 64 tokens. Without store_pieces(), as this comes after 21 blocks of K as well as after 40: taking the
  // totals piece by piece made it too long.
  __device__ __forceinline__ void store_bf16(const Sums& total, const Place& tile, int feature,
                                             float scale) const {
    constexpr int kTokens = 64;
    static_assert(kTokens * OutRow::kStride <= kScratchBytes);
    const int lane = threadIdx.x % 32, y_stride = shape_.features, outputs = tile.outputs;
    bf16* y = static_cast<bf16*>(shape_.output.y) + int64_t{tile.token} * y_stride + feature;
    const uint32_t mine =
        scratch_ + (lane / 16 * 8 + lane % 8) * OutRow::kStride + (thread_ / 32 * 2 + lane / 8 % 2) * 16;
#pragma unroll
    for (int first = 0; first < kWidest; first += kTokens) {
      if (first >= outputs) break;
      sync();  // all have read what lay there
#pragma unroll
      for (int j = 0; j < kTokens / 16; ++j) {
        uint32_t packed[4];
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          const int i = first / 2 + 8 * j + 2 * q;
          if (i >= kSums) break;
          const __nv_bfloat162 pair = __floats2bfloat162_rn(scale * total[i], scale * total[i + 1]);
          packed[q] = *reinterpret_cast<const uint32_t*>(&pair);
        }
        store_matrices_transposed(mine + j * 16 * OutRow::kStride, packed);
      }
      sync();
      const int rows = min(outputs - first, kTokens);
      bf16* to = y + first * y_stride;
#pragma unroll 1
      for (int i = thread_; i < rows * 8; i += 128) {
        *reinterpret_cast<int4*>(to + (i / 8 * y_stride + i % 8 * 8)) =
            load_shared_16(scratch_ + i / 8 * OutRow::kStride + i % 8 * 16);
      }
    }
  }

  __device__ __forceinline__ void store_f32(const Sums& total, const Place& tile, int feature,
                                            float scale) const {
    const int mine = thread_ % 4 * 2 * OutRow::kStride + (thread_ / 32 * 16 + thread_ % 32 / 4) * 4;
    store_pieces(total, tile, feature, [&](const float(&part)[kTokenStep / 2], uint32_t to) {
#pragma unroll
      for (int i = 0; i < kTokenStep / 2; ++i)
        store_shared(to + mine + (i / 4 * 8 + i % 2) * OutRow::kStride + i / 2 % 2 * 32, scale * part[i]);
    });
  }

  const Shape& shape_;
  Control& control_;
  const uint32_t scratch_;
  const int warpgroup_, thread_;
  const uint32_t weights_, tokens_;  // operands of a block at the ring's begin
  Ring ring_;                        // in the 16 bytes that operands count
  Slots<kMaxBlocks> full_;
  Slots<kTileSlots> tile_;
  int reading_ = 0;  // the block that is released next
  int finished_segment_ = -1;
};

template <typename Element, Epilogue kEpilogue, bool kSegments>
__global__ void __cluster_dims__(kCluster, 1, 1) __launch_bounds__(kThreads, 1)
    wide_kernel(const __grid_constant__ WideTensor tokens, const __grid_constant__ Shape shape) {
  extern __shared__ uint8_t raw[];
  uint8_t* ring_memory = raw + (-shared_address(raw) & 1023);
  uint8_t* scratches = ring_memory + kRingBytes;
  __shared__ Control control;
  if (shape.groups > 1 && !shape.groups_known) wait_for_previous();  // their bounds come from another kernel
  let_next_start();
  if (threadIdx.x == kConsumers) {
    for (const CUtensorMap& half : tokens.half) prefetch_tensor_map(&half);
#pragma unroll 1
    for (int block = 0; block < kMaxBlocks; ++block) {
      barrier_init(at(control.full[block]), 1);
      barrier_init(at(control.empty[block]), kWarpgroups * kCluster);
    }
    for (int slot = 0; slot < kTileSlots; ++slot) {
      barrier_init(at(control.tile_told[slot]), 1);
      barrier_init(at(control.tile_read[slot]), kConsumers / 32 + kCopiers);
    }
    barrier_init(at(control.tile_begun), 1);
#pragma unroll 1
    for (uint64_t& arrived : control.draw_arrived) barrier_init(at(arrived), 1);
    barrier_init_fence();
  }
  make_schedule(shape, control.schedule);
  cluster_sync();
  if (threadIdx.x >= kConsumers) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    const int part = static_cast<int>(threadIdx.x / 32) - kConsumers / 32;
    if (elected()) {
      if (part < kCopiers) {
        Copier(tokens, shape, control, shared_address(ring_memory), part).run();
      } else {
        Planner(shape, control).run();
      }
    }
    __syncwarp();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    wait_for_previous();
    Consumer<Element, kEpilogue, kSegments>(shape, control, shared_address(ring_memory),
                                            shared_address(scratches) + threadIdx.x / 128 * kScratchBytes)
        .run();
  }
  cluster_sync();  // neither block ends while the other writes into it
}

// Up to so many tokens groups that share them wait for their weights rather than for the tensor cores.
constexpr int kMixedTokens = 1536;

// That fit the device at once: its groups of multiprocessors need not be multiples of a cluster.
int resident_clusters = 0;

int tiles_of(int features, int tokens, int widest) {
  const int width = width_of(tokens, widest);
  return (features + kClusterFeatures - 1) / kClusterFeatures * ((tokens + width - 1) / width);
}

// The widest tile that one group of tokens should be cut into, for the shortest run of `clusters`. What a
// block of K costs beside its operations is worth about kOverhead tokens (measured at 128 and 192).
int widest_for(const GemmWeights& w, int widest_of_all, int tokens, int clusters) {
  constexpr int kOverhead = 80;
  int best = 0, best_time = 0;
  for (int widest = widest_of_all; widest >= 2 * kTokenStep; widest -= kTokenStep) {
    const int rounds = (tiles_of(w.features, tokens, widest) + clusters - 1) / clusters;
    const int time = rounds * (width_of(tokens, widest) + kOverhead);
    if (best == 0 || time < best_time) best = widest, best_time = time;
  }
  return best;
}

template <typename Element, Epilogue kEpilogue, bool kSegments>
void run(const GemmCall& call, int num_sms, cudaStream_t stream) {
  const GemmWeights& w = *call.w;
  const int block = w.type == ElementType::kFp8 ? kBlockBytes : kBlockBytes / 2;
  const Output output{call.y, w.features, w.scales, call.divisor, call.divisor_of_group, nullptr};
  int clusters = std::min(num_sms / kCluster, resident_clusters), widest = widest_tile(kEpilogue, kSegments);
  if (w.groups == 1) {
    widest = widest_for(w, widest, call.tokens_a_group, clusters);
    clusters = std::min(clusters, tiles_of(w.features, call.tokens_a_group, widest));  // that find work
  }
  const Shape shape{static_cast<const uint8_t*>(w.data),
                    w.groups,
                    w.features,
                    w.k / block,
                    w.splits,
                    call.token_begin,
                    call.tokens_a_group,
                    widest,
                    call.groups_known,
                    call.first_takes_all && call.tokens_a_group <= kMixedTokens,
                    call.split.next_tile,
                    output};
  launch(wide_kernel<Element, kEpilogue, kSegments>, clusters * kCluster, kThreads, kSharedBytes, stream,
         call.x->wide, shape);
}

template <typename Element, Epilogue kEpilogue, bool kSegments>
void prepare() {
  const auto kernel = wide_kernel<Element, kEpilogue, kSegments>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
        "shared memory of gemm_wide");
  cudaLaunchConfig_t config{};
  config.gridDim = kCluster;
  config.blockDim = kThreads;
  config.dynamicSmemBytes = kSharedBytes;
  check(cudaOccupancyMaxActiveClusters(&resident_clusters, kernel, &config), "clusters of gemm_wide");
}

}  // namespace

void gemm_wide(const GemmCall& call, int num_sms, cudaStream_t stream) {
  with_kernel_of(call, [&]<typename Element, Epilogue kEpilogue>() {
    if (call.w->splits > 1) return run<Element, kEpilogue, true>(call, num_sms, stream);
    run<Element, kEpilogue, false>(call, num_sms, stream);
  });
}

void prepare_gemm_wide() {
  with_every_kernel([&]<typename Element, Epilogue kEpilogue>() {
    prepare<Element, kEpilogue, true>();
    prepare<Element, kEpilogue, false>();
  });
}

}  // namespace outrider::cuda

// Tiles of 128 features x up to 192 tokens for prompts, where the tensor cores are the limit.
//
// Tiling: a cluster of two blocks takes 256 features and one run of tokens. Each block copies its own weights
// and half of the tokens, which the copy engine writes into both: 28 KB per block and 128 bytes of K for 768
// clocks of tensor cores, where a block alone would need 40 KB. The L2 cache gives about 42 KB a microsecond
// and multiprocessor. With thousands of tokens the tensor cores wait for nothing, at the clock that power
// leaves them; with hundreds, whole rounds of the grid and its start count. In a block one thread copies,
// four or five stages ahead, and two warpgroups multiply, 64 features each, with accumulators of one interval
// (gemm_order.h) beside the totals, so that what becomes of a finished total (adding it to the segments
// before, writing it out) happens while the next interval multiplies. A group's tokens are cut into equal
// tiles, in steps of 32; what is left over is a narrower tile. The grid is persistent. A cluster draws its
// next tile from a counter when it begins one, so that narrow and wide ones, and those that wait for memory
// and those that do not, need no even hand. Tiles lie in bands of 8 token tiles, so that the clusters at work
// share weights and tokens in the L2 cache, and a group's narrower ones last.
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
#include "cuda/gemm_wide_tiles.cuh"
#include "cuda/launch.cuh"
#include "cuda/number_formats.cuh"
#include "cuda/weight_image.h"
#include "cuda/wgmma.cuh"

namespace outrider::cuda {
namespace {

using namespace wide;

struct Barriers {
  uint32_t base;
  __device__ uint32_t full(int stage) const { return base + 8 * stage; }  // copies have arrived
  __device__ uint32_t empty(int stage) const {
    return base + 8 * (kMaxStages + stage);
  }  // both blocks have read
  // What the consumers are told with a stage: the tile that it belongs to, or kNoTile.
  __device__ __forceinline__ void set_tile(int stage, int tile) const {
    asm volatile("st.shared.s32 [%0], %1;" ::"r"(base + 16 * kMaxStages + 4 * stage), "r"(tile) : "memory");
  }
  __device__ __forceinline__ int tile(int stage) const {
    int tile;
    asm volatile("ld.shared.s32 %0, [%1];" : "=r"(tile) : "r"(base + 16 * kMaxStages + 4 * stage) : "memory");
    return tile;
  }
};
constexpr int kNoTile = -1;  // there are no more

// Tells the cluster's second block what the first has drawn. That runs ahead by less than a ring of the
// shortest tiles, a block of K each.
constexpr int kDrawnSlots = 8;
static_assert(kDrawnSlots >= kMaxStages + 2);
struct Draws {
  int drawn[kDrawnSlots];
  uint64_t arrived[kDrawnSlots];  // barriers
};

struct Ring {
  int stages, stage = 0, parity;
  __device__ __forceinline__ void advance() {
    if (++stage == stages) stage = 0, parity ^= 1;
  }
};

// The copying thread of each block. It asks for 28 KB in less than 500 clocks: what can be is computed once a
// tile.
class Copier {
 public:
  __device__ __forceinline__ Copier(const WideTensor& tokens, const Shape& shape, const Schedule& schedule,
                                    const Barriers& barriers, uint32_t stages, Draws& draws)
      : tokens_(tokens),
        shape_(shape),
        schedule_(schedule),
        barriers_(barriers),
        stages_(stages),
        draws_(draws),
        tiles_(schedule.tile_begin[shape.groups]) {}

  __device__ __forceinline__ void run() {
    Ring ring{stages_of(shape_.splits), 0, 1};
    const int rank = cluster_rank();
    bool first = true;
    for (tile_ = blockIdx.x / kCluster; tile_ < tiles_; tile_ = next_tile(rank)) {
      const Place at = place_of(shape_, schedule_, tile_);
      go_to_weights(at.group, at.feature + rank * kBlockFeatures);
      const int half_tokens = at.tokens / kCluster;
      half_ = &tokens_.half[at.tokens / kTokenStep - 1];
      token_row_ = at.token + rank * half_tokens;
      token_offset_ = kWeightBytes + rank * half_tokens * kBlockBytes;
      bytes_ = kWeightBytes + at.tokens * kBlockBytes;
      weights_hint_ = at.alone ? kEvictFirst : kEvictNormal;
      int k = 0;
      if (first) {  // weights depend on no other kernel
        first = false;
        const int ahead = min(ring.stages, shape_.k_blocks);
        for (int i = 0; i < ahead; ++i) copy_weights(i, i);
        wait_for_previous();
        for (; k < ahead; ++k) {
          copy_tokens(k, k);
          ring.advance();
        }
      }
      int value = 0;  // asked for now, and here when it is used
      if (rank == 0) value = atomicAdd(shape_.next_tile, 1);
      const int half = max(k, shape_.k_blocks / 2);
      for (; k < half; ++k) copy_block(k, ring);
      if (rank == 0) publish(value);
      for (; k < shape_.k_blocks; ++k) copy_block(k, ring);
    }
    barrier_wait(barriers_.empty(ring.stage), ring.parity);
    barriers_.set_tile(ring.stage, kNoTile);
    barrier_arrive(barriers_.full(ring.stage));
  }

 private:
  __device__ __forceinline__ void copy_block(int k, Ring& ring) const {
    barrier_wait(barriers_.empty(ring.stage), ring.parity);
    copy_weights(k, ring.stage);
    copy_tokens(k, ring.stage);
    ring.advance();
  }
  // Every tile is followed by one draw; the last of them clears the counter for the next product.
  __device__ __forceinline__ void publish(int value) {
    if (value + 1 == tiles_) *shape_.next_tile = 0;
    const int slot = tiles_done_ % kDrawnSlots;
    draws_.drawn[slot] = value + gridDim.x / kCluster;
    store_in_cluster(shared_address(&draws_.drawn[slot]), draws_.drawn[slot],
                     shared_address(&draws_.arrived[slot]), 1);
  }
  __device__ __forceinline__ int next_tile(int rank) {
    const int slot = tiles_done_ % kDrawnSlots;
    if (rank > 0) {
      const uint32_t arrived = shared_address(&draws_.arrived[slot]);
      barrier_arrive_expecting(arrived, sizeof(int));
      barrier_wait(arrived, tiles_done_ / kDrawnSlots % 2);
    }
    ++tiles_done_;
    return *static_cast<volatile int*>(&draws_.drawn[slot]);
  }

  // A tile may want more features than there are: it gets some that exist twice.
  __device__ __forceinline__ void go_to_weights(int group, int feature) {
#pragma unroll
    for (int i = 0; i < kWarpgroups; ++i) {
      const int f = min(feature + i * kFeatureTile, shape_.features - kFeatureTile);
      weights_[i] = shape_.weights + int64_t{group * shape_.features + f} * kBlockBytes * shape_.k_blocks;
    }
  }
  __device__ __forceinline__ void copy_weights(int k, int stage) const {
    barriers_.set_tile(stage, tile_);
    barrier_arrive_expecting(barriers_.full(stage), bytes_);
    const uint32_t to = stages_ + stage * stage_bytes(shape_.splits);
#pragma unroll
    for (int i = 0; i < kWarpgroups; ++i) {
      copy_bytes(to + i * kImageBlockBytes, weights_[i] + k * kImageBlockBytes, kImageBlockBytes,
                 barriers_.full(stage), weights_hint_);
    }
  }
  __device__ __forceinline__ void copy_tokens(int k, int stage) const {
    copy_box_to_cluster(stages_ + stage * stage_bytes(shape_.splits) + token_offset_, half_, k * kBlockBytes,
                        token_row_, barriers_.full(stage), (1 << kCluster) - 1, kEvictNormal);
  }

  const WideTensor& tokens_;
  const Shape& shape_;
  const Schedule& schedule_;
  const Barriers barriers_;
  const uint32_t stages_;
  Draws& draws_;
  const int tiles_;
  int tile_ = 0, tiles_done_ = 0;
  const uint8_t* weights_[kWarpgroups];  // of the tile, from k = 0 on
  uint64_t weights_hint_ = kEvictNormal;
  const CUtensorMap* half_ = nullptr;  // for this block's half of the tile's tokens
  int token_row_ = 0, token_offset_ = 0, bytes_ = 0;
};

// Tells the compiler that all threads have the same value: it may not let warpgroup instructions overlap
// otherwise.
__device__ __forceinline__ int uniform(int value) { return __shfl_sync(~0u, value, 0); }

// One of the warpgroups that multiply.
template <typename Element, Epilogue kEpilogue>
class Consumer {
 public:
  __device__ __forceinline__ Consumer(const Shape& shape, const Barriers& barriers, uint32_t stages,
                                      uint8_t* scratch)
      : shape_(shape),
        barriers_(barriers),
        stages_(stages),
        scratch_(scratch),
        warpgroup_(threadIdx.x / 128),
        thread_(threadIdx.x % 128),
        ring_{stages_of(shape.splits), 0, 0} {}

  __device__ __forceinline__ void run(const Schedule& schedule) {
    WideSums sum, total;
    clear(total);
    for (;;) {
      barrier_wait(barriers_.full(ring_.stage), ring_.parity);
      const int tile = uniform(barriers_.tile(ring_.stage));
      if (tile == kNoTile) break;
      sync();  // all warps have read it before any thread gives the stage back
      const Place at = place_of(shape_, schedule, tile);
      for (int s = 0; s < shape_.splits; ++s) {
        int blocks = segment_begin(shape_.k_blocks, shape_.splits, s + 1) -
                     segment_begin(shape_.k_blocks, shape_.splits, s);
        for (; blocks > 0; blocks -= kIntervalBlocks) {
          const int count = min(kIntervalBlocks, blocks);
          switch (uniform(at.tokens)) {
            case 32:
              add_interval<32>(count, sum, total);
              break;
            case 64:
              add_interval<64>(count, sum, total);
              break;
            case 96:
              add_interval<96>(count, sum, total);
              break;
            case 128:
              add_interval<128>(count, sum, total);
              break;
            case 160:
              add_interval<160>(count, sum, total);
              break;
            default:
              add_interval<192>(count, sum, total);
          }
        }
        finished_ = at;
        finished_segment_ = s;
      }
    }
    if (finished_segment_ >= 0) finish_segment(total);
  }

 private:
  __device__ __forceinline__ void sync() const {
    asm volatile("bar.sync %0, 128;" ::"r"(warpgroup_ + 1) : "memory");
  }
  // The zero is hidden from the compiler, which would put totals that it can clear as memory into memory.
  static __device__ __forceinline__ void clear(WideSums& total) {
    float zero;
    asm volatile("mov.b32 %0, 0;" : "=f"(zero));
#pragma unroll
    for (int i = 0; i < kSums; ++i) total[i] = zero;
  }
  template <int kTokens>
  __device__ __forceinline__ void multiply_block(WideSums& sum, bool accumulate) {
    barrier_wait(barriers_.full(ring_.stage), ring_.parity);
    const uint32_t base = stages_ + ring_.stage * stage_bytes(shape_.splits);
    wgmma_fence();
    wgmma_block<Element, kTokens>(sum, swizzled_operand(base + warpgroup_ * kFeatureTile * kBlockBytes),
                                  swizzled_operand(base + kWeightBytes), accumulate);
    wgmma_commit();
    ring_.advance();
  }
  __device__ __forceinline__ void release() {
    if (thread_ < kCluster) barrier_arrive_in_cluster(barriers_.empty(reading_), thread_);
    if (++reading_ == ring_.stages) reading_ = 0;
  }

  // Finishes the segment before, once enough is multiplying.
  template <int kTokens>
  __device__ __forceinline__ void add_interval(int blocks, WideSums& sum, WideSums& total) {
    pin(sum);
    multiply_block<kTokens>(sum, false);
    if (blocks > 1) multiply_block<kTokens>(sum, true);
    if (finished_segment_ >= 0) {
      finish_segment(total);
      finished_segment_ = -1;
    }
    for (int b = 2; b < blocks; ++b) {
      wgmma_wait<1>();
      release();
      multiply_block<kTokens>(sum, true);
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

  __device__ __forceinline__ void finish_segment(WideSums& total) {
    float* parked = reinterpret_cast<float*>(scratch_) + thread_;
    if (finished_segment_ > 0) {
#pragma unroll
      for (int i = 0; i < kParkedTokens / 2; ++i) total[i] = parked[i * 128] + total[i];
    }
    if (finished_segment_ + 1 < shape_.splits) {
#pragma unroll
      for (int i = 0; i < kParkedTokens / 2; ++i) parked[i * 128] = total[i];
    } else {
      store(total);
    }
    clear(total);
  }

  // Scales the totals and writes them.
  __device__ __forceinline__ void store(const WideSums& total) {
    const int feature = finished_.feature + cluster_rank() * kBlockFeatures + warpgroup_ * kFeatureTile;
    if (feature >= shape_.features) return;  // of a number of feature tiles that clusters do not divide
    const Output& out = shape_.output;
    const int tile = (finished_.group * shape_.features + feature) / kFeatureTile;
    if constexpr (kEpilogue == Epilogue::kGated) {
      store_gated(tile, feature, total);
    } else {
      const float scale = out.scales ? out.scales[tile] : 1.0f;
      const int64_t begin = int64_t{finished_.token} * shape_.features + feature;
      if constexpr (kEpilogue == Epilogue::kBf16) store_rows(scale, total, static_cast<bf16*>(out.y) + begin);
      if constexpr (kEpilogue == Epilogue::kF32)
        store_f32(scale, total, static_cast<uint8_t*>(out.y) + begin * 4);
    }
    if (shape_.splits > 1) sync();  // totals of the next tile come here without asking
  }

  __device__ __forceinline__ void store_f32(float scale, const WideSums& total, uint8_t* y) {
    constexpr int kRowBytes = kFeatureTile * 4, kStride = kRowBytes + 16, kTokens = 32;
    static_assert(kTokens * kStride <= kOutTokens * kOutRowBytes);
    float* mine =
        reinterpret_cast<float*>(scratch_ + thread_ % 4 * 2 * kStride) + thread_ / 32 * 16 + thread_ % 32 / 4;
#pragma unroll
    for (int first = 0; first < kWidestTokens; first += kTokens) {
      const int count = min(finished_.outputs - first, kTokens);
      if (count <= 0) break;
      sync();  // all have read what lay there
#pragma unroll
      for (int i = 0; i < kTokens / 2; ++i) {
        mine[(i / 4 * 8 + i % 2) * (kStride / 4) + i / 2 % 2 * 8] = scale * total[first / 2 + i];
      }
      sync();
      copy_rows(count, kRowBytes, kStride, y + int64_t{first} * shape_.features * 4,
                int64_t{shape_.features} * 4);
    }
  }

  // Bytes of `tokens` rows from shared memory, where they are `stride` apart.
  __device__ __forceinline__ void copy_rows(int tokens, int row_bytes, int stride, uint8_t* to,
                                            int64_t to_stride) {
    const int pieces = row_bytes / 16;
    for (int i = thread_; i < tokens * pieces; i += 128) {
      const int token = i / pieces, at = i % pieces * 16;
      *reinterpret_cast<int4*>(to + token * to_stride + at) =
          *reinterpret_cast<const int4*>(scratch_ + token * stride + at);
    }
  }

  __device__ __forceinline__ void store_gated(int tile, int feature, const WideSums& total) {
    const Output& out = shape_.output;
    const float gate_scale = out.scales ? out.scales[2 * tile] : 1.0f;
    const float up_scale = out.scales ? out.scales[2 * tile + 1] : 1.0f;
    const Divisor divisor(out.divisor_of_group ? out.divisor_of_group[finished_.group] : out.divisor);
    const int size = out.gated_fp8 ? 1 : 2, row_bytes = kFeatureTile / 2 * size;
    const int stride = row_bytes + 16;  // padded against bank conflicts
    const int64_t y_stride = int64_t{shape_.features} / 2 * size;
    uint8_t* y = static_cast<uint8_t*>(out.y) + finished_.token * y_stride + feature / 2 * size;
    uint8_t* mine = scratch_ + thread_ % 4 * 2 * stride + (thread_ / 32 * 8 + thread_ % 32 / 4) * size;
#pragma unroll
    for (int first = 0; first < kWidestTokens; first += kOutTokens) {
      const int count = min(finished_.outputs - first, kOutTokens);
      if (count <= 0) break;
      sync();  // all have read what lay there
#pragma unroll
      for (int j = 0; j < kOutTokens / 8; ++j) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int i = (first / 8 + j) * 4 + c;
          const float value = gated_value(gate_scale * total[i], up_scale * total[i + 2]);
          uint8_t* to = mine + (j * 8 + c) * stride;
          if (out.gated_fp8) {
            *to = to_e4m3(divisor.quotient(value));
          } else {
            *reinterpret_cast<bf16*>(to) = __float2bfloat16(value);
          }
        }
      }
      sync();
      copy_rows(count, row_bytes, stride, y + first * y_stride, y_stride);
    }
  }

  // Through shared memory, so that a token's 64 features are written in one go.
  __device__ __forceinline__ void store_rows(float scale, const WideSums& total, bf16* y) {
    constexpr int kPieces = kOutRowBytes / 16, kStep = kOutTokens / 8;
    const int lane = threadIdx.x % 32, piece = thread_ / 32 * 2 + lane / 8 % 2;
    const uint32_t rows = shared_address(scratch_);
#pragma unroll
    for (int first = 0; first < kWidestTokens / 8; first += kStep) {
      const int count = min(finished_.outputs - first * 8, kOutTokens) * kPieces;
      if (count <= 0) break;
      sync();  // all have read what lay there
#pragma unroll
      for (int j = 0; j < kStep; j += 2) {
        const int token = (j + lane / 16) * 8 + lane % 8;
        uint32_t packed[4];
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          const int i = 4 * (first + j) + 2 * q;
          const __nv_bfloat162 pair = __floats2bfloat162_rn(scale * total[i], scale * total[i + 1]);
          packed[q] = *reinterpret_cast<const uint32_t*>(&pair);
        }
        store_matrices_transposed(rows + token * kOutRowBytes + (piece ^ token % 8) * 16, packed);
      }
      sync();
      for (int i = thread_; i < count; i += 128) {
        const int token = i / kPieces, at = i % kPieces;
        *reinterpret_cast<int4*>(y + int64_t{first * 8 + token} * shape_.features +
                                 at * (kFeatureTile / kPieces)) =
            *reinterpret_cast<const int4*>(scratch_ + token * kOutRowBytes + (at ^ token % 8) * 16);
      }
    }
  }

  const Shape& shape_;
  const Barriers barriers_;
  const uint32_t stages_;
  uint8_t* const scratch_;
  const int warpgroup_, thread_;
  Ring ring_;
  int reading_ = 0;  // stage that is released next
  Place finished_{};
  int finished_segment_ = -1;
};

template <typename Element, Epilogue kEpilogue>
__global__ void __cluster_dims__(kCluster, 1, 1) __launch_bounds__(kThreads, 1)
    wide_kernel(const __grid_constant__ WideTensor tokens, const __grid_constant__ Shape shape) {
  extern __shared__ uint8_t raw[];
  uint8_t* stages = raw + (-shared_address(raw) & 1023);
  uint8_t* scratches = stages + stages_of(shape.splits) * stage_bytes(shape.splits);
  const Barriers barriers{shared_address(scratches + kWarpgroups * scratch_bytes(shape.splits))};
  __shared__ Schedule schedule;
  __shared__ Draws draws;
  let_next_start();
  if (shape.groups > 1) wait_for_previous();  // the groups' bounds come from another kernel
  if (threadIdx.x == kConsumers) {
    for (const CUtensorMap& half : tokens.half) prefetch_tensor_map(&half);
    for (int stage = 0; stage < kMaxStages; ++stage) {
      barrier_init(barriers.full(stage), 1);
      barrier_init(barriers.empty(stage), kWarpgroups * kCluster);
    }
    for (uint64_t& arrived : draws.arrived) barrier_init(shared_address(&arrived), 1);
    barrier_init_fence();
  }
  make_schedule(shape, schedule);
  cluster_sync();
  if (threadIdx.x >= kConsumers) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == kConsumers) {
      Copier(tokens, shape, schedule, barriers, shared_address(stages), draws).run();
    }
    __syncwarp();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    wait_for_previous();
    Consumer<Element, kEpilogue>(shape, barriers, shared_address(stages),
                                 scratches + threadIdx.x / 128 * scratch_bytes(shape.splits))
        .run(schedule);
  }
  cluster_sync();  // neither block ends while the other writes into it
}

// That fit the device at once: its groups of multiprocessors need not be multiples of a cluster.
int resident_clusters = 0;

int tiles_of(int features, int tokens, int widest) {
  const int width = width_of(tokens, widest);
  return (features + kClusterFeatures - 1) / kClusterFeatures * ((tokens + width - 1) / width);
}

// The widest tile that one group of tokens should be cut into, for the shortest run of `clusters`. What a
// block of K costs beside its operations is worth about kOverhead tokens (measured at 128 and 192).
int widest_for(const GemmWeights& w, int tokens, int clusters) {
  constexpr int kOverhead = 80;
  int best = 0, best_time = 0;
  for (int widest = tile_tokens(w.splits); widest >= 2 * kTokenStep; widest -= kTokenStep) {
    const int rounds = (tiles_of(w.features, tokens, widest) + clusters - 1) / clusters;
    const int time = rounds * (width_of(tokens, widest) + kOverhead);
    if (best == 0 || time < best_time) best = widest, best_time = time;
  }
  return best;
}

template <typename Element, Epilogue kEpilogue>
void run(const GemmCall& call, int num_sms, cudaStream_t stream) {
  const GemmWeights& w = *call.w;
  const int block = w.type == ElementType::kFp8 ? kBlockBytes : kBlockBytes / 2;
  const Output output{
      call.y, w.features, w.scales, call.output == OutputType::kFp8, call.divisor, call.divisor_of_group,
      nullptr};
  int clusters = std::min(num_sms / kCluster, resident_clusters), widest = tile_tokens(w.splits);
  if (w.groups == 1) {
    widest = widest_for(w, call.tokens_a_group, clusters);
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
                    call.mixes_first_group,
                    call.split.next_tile,
                    output};
  launch(wide_kernel<Element, kEpilogue>, clusters * kCluster, kThreads, shared_bytes(w.splits), stream,
         call.x->wide, shape);
}

template <typename Element, Epilogue kEpilogue>
void prepare() {
  const int bytes = std::max(shared_bytes(1), shared_bytes(kMaxSplits));
  check(cudaFuncSetAttribute(wide_kernel<Element, kEpilogue>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             bytes),
        "shared memory of gemm_wide");
  cudaLaunchConfig_t config{};
  config.gridDim = kCluster;
  config.blockDim = kThreads;
  config.dynamicSmemBytes = bytes;
  check(cudaOccupancyMaxActiveClusters(&resident_clusters, wide_kernel<Element, kEpilogue>, &config),
        "clusters of gemm_wide");
}

template <typename Element>
void run_element(const GemmCall& call, int num_sms, cudaStream_t stream) {
  if (call.w->gated) return run<Element, Epilogue::kGated>(call, num_sms, stream);
  if (call.output == OutputType::kF32) return run<Element, Epilogue::kF32>(call, num_sms, stream);
  run<Element, Epilogue::kBf16>(call, num_sms, stream);
}

template <typename Element>
void prepare_element() {
  prepare<Element, Epilogue::kGated>();
  prepare<Element, Epilogue::kF32>();
  prepare<Element, Epilogue::kBf16>();
}

}  // namespace

void gemm_wide(const GemmCall& call, int num_sms, cudaStream_t stream) {
  if (call.w->type == ElementType::kFp8) {
    run_element<Fp8>(call, num_sms, stream);
  } else {
    run_element<Bf16>(call, num_sms, stream);
  }
}

void prepare_gemm_wide() {
  prepare_element<Fp8>();
  prepare_element<Bf16>();
}

}  // namespace outrider::cuda

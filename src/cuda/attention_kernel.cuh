// The attention kernel: a producer warp keeps a ring of page images filled by bulk copies; each consumer
// warpgroup has its own query columns (token, head of the group) and takes every page of the ring.
//
// Shapes: scores[64 keys][columns] = K q^T, so a thread has keys 16 * warp + lane / 4 (+ 8) of the page and
// columns 8 j + 2 * (lane % 4) (+ 1); values[head_dim][columns] = V^T p^T in the same places of 64 channels.
// Maxima and sums over keys go through shuffles, then over the four warps through shared memory.
//
// All arithmetic on a row is written with explicit roundings: decode and prompts run different instances of
// this code, and must agree in every bit (attention.h).
#pragma once

#include "cuda/async_copy.cuh"
#include "cuda/attention_newest.cuh"
#include "cuda/attention_page.cuh"
#include "cuda/attention_runs.cuh"
#include "cuda/launch.cuh"

namespace outrider::cuda {

// kN: columns of the matrix instruction. kWarpgroups of consumers. kFoldShared: runs are folded in shared
// memory; else in registers.
template <model::KvDtype kDtype, int kHeadDim, int kN, int kWarpgroups, int kStages, bool kFoldShared>
struct AttentionTraits {
  using Math = PageMath<kDtype, kHeadDim, kN>;
  static constexpr int kColumns = Math::kColumns;  // of a warpgroup
  static constexpr int kHeadSize = kHeadDim;
  static constexpr int kGroups = kWarpgroups, kRing = kStages;
  static constexpr bool kSharedFold = kFoldShared;
  using NewToken = cuda::NewToken<kDtype, kHeadDim>;
  // With several consumers the producer is a warpgroup too, and leaves them its registers.
  static constexpr int kThreads = kWarpgroups * 128 + (kWarpgroups > 1 ? 128 : 32);
  static constexpr int kBlocks = kHeadDim / 64;  // of 64 channels
  static constexpr int kThreadColumns = kColumns / 4;
  static constexpr int kElements = kColumns / 2;  // of a thread, of 64 rows
  static constexpr int kImageBytes = Math::Image::kBytes;
  static constexpr int kFoldFloats = kFoldShared ? (kBlocks * kElements + 2 * kThreadColumns) * 128 : 0;

  struct alignas(16) Small {  // of one warpgroup
    float max_of_warp[4][kColumns], sum_of_warp[4][kColumns];
    float score_scale[kColumns];
    int32_t last_key[kColumns];  // that the column may see; -1: the column is not in use
  };
  // Offsets in shared memory, from a multiple of 1024.
  static constexpr int kQ = kStages * kImageBytes;
  static constexpr int kP = kQ + kWarpgroups * Math::kQBytes;
  static constexpr int kFold = kP + kWarpgroups * Math::kPBytes;
  static constexpr int kSmall = kFold + kWarpgroups * kFoldFloats * 4;
  static constexpr int kBarriers = kSmall + kWarpgroups * static_cast<int>(sizeof(Small));
  static constexpr int kSharedBytes = kBarriers + 2 * kStages * 8 + 1024;  // and room to align
  // By shared memory, of which Hopper has 228 KiB an SM; a block costs 1 KiB more than it asks for.
  static constexpr int kBlocksThatFit = 228 * 1024 / (kSharedBytes + 1024);
  static_assert(kBlocksThatFit >= 1);
  static constexpr int kBlocksPerSm = kWarpgroups > 1 ? 1 : kBlocksThatFit < 4 ? kBlocksThatFit : 4;
};

// Ring of page images: full and empty barriers, and where in it one is.
template <typename T>
struct Ring {
  uint32_t images, barriers;
  int stage = 0, parity;

  __device__ __forceinline__ uint32_t image() const { return images + stage * T::kImageBytes; }
  __device__ __forceinline__ uint32_t full() const { return barriers + 8 * stage; }
  __device__ __forceinline__ uint32_t empty() const { return barriers + 8 * (T::kRing + stage); }
  __device__ __forceinline__ void advance() {
    if (++stage == T::kRing) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// By all threads of the block.
template <typename T>
__device__ __forceinline__ Ring<T> make_ring(uint8_t* shared) {
  const Ring<T> ring{shared_address(shared), shared_address(shared + T::kBarriers), 0, 0};
  if (threadIdx.x == 0) {
    for (int i = 0; i < T::kRing; ++i) {
      barrier_init(ring.barriers + 8 * i, 1);                              // full: the producer
      barrier_init(ring.barriers + 8 * (T::kRing + i), T::kGroups * 128);  // empty: consumer threads
    }
    barrier_init_fence();
  }
  __syncthreads();
  return ring;
}

// By all consumer threads, when the products of a page are done: the next copy into its stage waits for them
// all. Lane 0 arrives for its warp, which has only waited for products. Of a page that the threads cleared
// the end of, each arrives for itself: its own arrival, behind its own fence, is what orders its writes
// before that copy.
__device__ __forceinline__ void give_back(uint32_t empty, bool cleared) {
  if (cleared) {
    barrier_arrive(empty);
  } else if (threadIdx.x % 32 == 0) {
    barrier_arrive_for(empty, 32);
  }
}

// Keys [begin, end) of a run of a tile.
struct RunKeys {
  int begin, end;
  __device__ __forceinline__ RunKeys(const AttentionTile& tile, int run)
      : begin(tile.first_key + run * kKeyRun),
        end(min(begin + kKeyRun, tile.first_position + tile.num_tokens)) {}
  __device__ __forceinline__ int first_page() const { return begin / kPagePositions; }
  __device__ __forceinline__ int num_pages() const { return (end - 1) / kPagePositions + 1 - first_page(); }
};

// Runs [first, end) of a tile.
struct TileRuns {
  int first, end;
  __device__ __forceinline__ explicit TileRuns(const AttentionTile& tile) {
    const int last_key = tile.first_position + tile.num_tokens - 1;
    first = tile.key_run == kAllRuns ? 0 : tile.key_run;
    end = tile.key_run == kAllRuns ? (last_key - tile.first_key) / kKeyRun + 1 : first + 1;
  }
};

// The items of a block, (tile, KV head) pairs that lie longest first: every other round is dealt out
// backwards, so that no block has the longest of each.
struct Items {
  int count, round = 0;
  __device__ __forceinline__ int current() const {
    const int place = round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
    return round * gridDim.x + place;
  }
  __device__ __forceinline__ bool left() const { return current() < count; }
};

// The producer warp.
template <typename T>
__device__ __forceinline__ void load_pages(const AttentionCall& call, const AttentionTile* tiles, int items,
                                           Ring<T> ring) {
  const int lane = threadIdx.x % 32, kv_heads = call.cache.kv_heads;
  constexpr uint64_t kHint = T::kGroups == 1 ? kEvictFirst : kEvictNormal;
  ring.parity = 1;  // the ring starts empty
  for (Items at{items}; at.left(); ++at.round) {
    const int item = at.current();
    const AttentionTile tile = tiles[item / kv_heads];
    const uint8_t* head = call.cache.base + item % kv_heads * call.cache.head_bytes;
    const int32_t* pages = call.pages + tile.sequence * call.page_stride;
    auto page_of_lane = [&](int run) {  // a run touches at most 9 pages
      const RunKeys keys(tile, run);
      return lane < keys.num_pages() ? pages[keys.first_page() + lane] : 0;
    };
    const TileRuns runs(tile);
    int page = page_of_lane(runs.first);
    for (int run = runs.first; run < runs.end; ++run) {
      const int next = run + 1 < runs.end ? page_of_lane(run + 1) : 0;
      const int count = RunKeys(tile, run).num_pages();
      for (int i = 0; i < count; ++i) {
        const int64_t from = __shfl_sync(~0u, page, i) * call.cache.page_stride;
        if (elected()) {
          barrier_wait(ring.empty(), ring.parity);
          barrier_arrive_expecting(ring.full(), T::kImageBytes);
          copy_bytes(ring.image(), head + from, T::kImageBytes, ring.full(), kHint);
        }
        ring.advance();
      }
      page = next;
    }
  }
}

// One consumer warpgroup. `Newest`: FinishedTokens, or NewToken where tiles are one token each.
template <typename T, typename Newest>
class Consumer {
 public:
  using Math = typename T::Math;
  using Small = typename T::Small;

  __device__ __forceinline__ Consumer(uint8_t* shared, const AttentionCall& call, int heads,
                                      const Ring<T>& ring, const Newest& newest)
      : call_(call),
        heads_(heads),
        group_(heads / call.cache.kv_heads),
        warpgroup_(T::kGroups > 1 ? uniform(threadIdx.x / 128) : 0),
        thread_(threadIdx.x % 128),
        lane_(threadIdx.x % 32),
        warp_(thread_ / 32),
        key_row_(warp_ * 16 + lane_ / 4),
        column_(lane_ % 4 * 2),
        shared_(shared),
        q_(shared + T::kQ + warpgroup_ * Math::kQBytes),
        p_(shared + T::kP + warpgroup_ * Math::kPBytes),
        fold_(reinterpret_cast<float*>(shared + T::kFold) + warpgroup_ * T::kFoldFloats + thread_),
        small_(reinterpret_cast<Small*>(shared + T::kSmall) + warpgroup_),
        newest_(newest),
        ring_(ring) {
    ring_.parity = 0;
  }

  // What an item needs that depends on no other kernel of the step.
  __device__ __forceinline__ void prepare(const AttentionTile& tile) { newest_.prepare(tile); }
  __device__ __forceinline__ void attend(const AttentionTile& tile, int kv_head) {
    if constexpr (Newest::kFinishes) {
      finish_q(tile, kv_head);
    } else {
      load_q(tile, kv_head);
    }
    const TileRuns runs(tile);
    for (int run = runs.first; run < runs.end; ++run) {
      start_run();
      const RunKeys keys(tile, run);
      for (int i = 0; i < keys.num_pages(); ++i) add_page(tile, keys, keys.first_page() + i);
      finish_sums();
      if (tile.key_run != kAllRuns) {
        store_partial(tile, kv_head);
      } else {
        fold_run(tile, kv_head, run == runs.first, run + 1 == runs.end);
      }
    }
  }

 private:
  // Element i < kElements of an accumulator: its column among the thread's, and its row beyond key_row_.
  static __device__ __forceinline__ constexpr int thread_column(int i) { return i / 4 * 2 + i % 2; }
  static __device__ __forceinline__ constexpr int row_step(int i) { return i / 2 % 2 * 8; }
  __device__ __forceinline__ int column(int thread_column) const {
    return thread_column / 2 * 8 + column_ + thread_column % 2;
  }
  __device__ __forceinline__ void sync() const {
    asm volatile("bar.sync %0, 128;" ::"r"(warpgroup_ + 1) : "memory");
  }
  // Token of the tile that a column belongs to.
  __device__ __forceinline__ int token_of(int column) const {
    return warpgroup_ * (T::kColumns / group_) + column / group_;
  }
  __device__ __forceinline__ bool in_use(const AttentionTile& tile, int column) const {
    return column / group_ < T::kColumns / group_ && token_of(column) < tile.num_tokens;
  }

  // q in the form of operand B, a warp a column; rows of unused columns are zero.
  __device__ __forceinline__ void load_q(const AttentionTile& tile, int kv_head) {
    constexpr int kPairs = T::kHeadSize / 64;  // of channels, a lane's
    constexpr float kLog2e = 1.44269504f;
    const float softmax_scale = rsqrtf(static_cast<float>(T::kHeadSize)) * kLog2e * call_.cache.k_scale;
    sync();  // the last tile's products are done
    for (int column = warp_; column < T::kColumns; column += 4) {
      const bool used = in_use(tile, column);
      float2 pair[kPairs] = {};
      float largest = 0.0f;
      if (used) {
        const int64_t row = tile.first_row + token_of(column);
        const int head = kv_head * group_ + column % group_;
        const auto* from = reinterpret_cast<const __nv_bfloat162*>(static_cast<const bf16*>(call_.q) +
                                                                   (row * heads_ + head) * T::kHeadSize);
#pragma unroll
        for (int i = 0; i < kPairs; ++i) {
          pair[i] = __bfloat1622float2(from[lane_ + 32 * i]);
          largest = fmaxf(largest, fmaxf(fabsf(pair[i].x), fabsf(pair[i].y)));
        }
      }
#pragma unroll
      for (int lanes = 16; lanes > 0; lanes /= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lanes));
      }
      const float scale = Math::q_scale(largest);
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        Math::store_q(q_, column, 2 * (lane_ + 32 * i), pair[i].x * scale, pair[i].y * scale);
      }
      if (lane_ == 0) {
        small_->score_scale[column] = __fdiv_rn(softmax_scale, scale);
        small_->last_key[column] = used ? tile.first_position + token_of(column) : -1;
      }
    }
    fence_for_async_proxy();
    sync();
  }

  // The same from the qkv product.
  __device__ __forceinline__ void finish_q(const AttentionTile& tile, int kv_head) {
    sync();
    newest_.template finish<Math>(kv_head, q_, small_->score_scale);
    if (thread_ < T::kColumns) small_->last_key[thread_] = thread_ < group_ ? tile.first_position : -1;
    fence_for_async_proxy();
    sync();
  }

  __device__ __forceinline__ void start_run() {
#pragma unroll
    for (int e = 0; e < T::kThreadColumns; ++e) {
      max_[e] = kNoScore;
      sum_[e] = 0.0f;
    }
#pragma unroll
    for (int b = 0; b < T::kBlocks; ++b) {
#pragma unroll
      for (int i = 0; i < T::kElements; ++i) total_[b][i] = 0.0f;
    }
  }

  __device__ __forceinline__ void add_page(const AttentionTile& tile, const RunKeys& keys, int page) {
    const int page_key = page * kPagePositions;
    barrier_wait(ring_.full(), ring_.parity);
    const int written = tile.first_position + tile.num_tokens - page_key;
    if (written < kPagePositions) clear_unwritten(written);
    const bool has_newest = Newest::kFinishes && written <= kPagePositions;
    if constexpr (Newest::kFinishes) {
      if (has_newest) put_newest();
    }

    float weight[T::kElements], keep[T::kThreadColumns];
    score_page(tile, keys, page_key, weight);
    weigh(weight, keep);
#pragma unroll
    for (int b = 0; b < T::kBlocks; ++b) {
#pragma unroll
      for (int i = 0; i < T::kElements; ++i) {
        total_[b][i] = __fmul_rn(total_[b][i], keep[thread_column(i)]);
      }
    }
    fence_for_async_proxy();
    sync();

#pragma unroll
    for (int b = 0; b < T::kBlocks; ++b) pin(total_[b]);
    wgmma_fence();
    Math::values(total_, ring_.image(), shared_address(p_));
    wgmma_commit();
    wgmma_wait<0>();
#pragma unroll
    for (int b = 0; b < T::kBlocks; ++b) pin(total_[b]);
    give_back(ring_.empty(), has_newest || written < kPagePositions);
    ring_.advance();
  }

  // `written`: positions of the page that hold V.
  __device__ __forceinline__ void clear_unwritten(int written) {
    Math::clear_values(shared_ + ring_.stage * T::kImageBytes, written, threadIdx.x, T::kGroups * 128);
    fence_for_async_proxy();
    if constexpr (T::kGroups > 1) asm volatile("bar.sync 15, %0;" ::"n"(T::kGroups * 128) : "memory");
  }

  __device__ __forceinline__ void put_newest() {
    sync();  // its neighbours are cleared
    newest_.put(shared_ + ring_.stage * T::kImageBytes);
    fence_for_async_proxy();
    sync();
  }

  // q k, minus infinity where a column may not see a key.
  __device__ __forceinline__ void score_page(const AttentionTile& tile, const RunKeys& keys, int page_key,
                                             float (&score)[T::kElements]) {
    pin(score);
    wgmma_fence();
    Math::scores(score, ring_.image(), shared_address(q_));
    wgmma_commit();
    wgmma_wait<0>();
    pin(score);
    const int run_end = keys.begin + kKeyRun, page_end = page_key + kPagePositions;
    if (page_key >= keys.begin && page_end <= run_end && page_end <= tile.first_position + 1) return;
#pragma unroll
    for (int i = 0; i < T::kElements; ++i) {
      const int key = page_key + position_of(row_step(i));
      const int last = min(small_->last_key[column(thread_column(i))], run_end - 1);
      if (key < keys.begin || key > last) score[i] = -INFINITY;
    }
  }
  // In the page, of the thread's key row or the one `step` further.
  __device__ __forceinline__ int position_of(int step) const {
    return Math::Image::position_of(key_row_ + step);
  }

  // Scores become weights relative to the new maximum, in registers and as operand B; `keep` is what sums so
  // far are worth relative to it.
  __device__ __forceinline__ void weigh(float (&score)[T::kElements], float (&keep)[T::kThreadColumns]) {
#pragma unroll
    for (int e = 0; e < T::kThreadColumns; ++e) {
      const int i = e / 2 * 4 + e % 2;
      float high = fmaxf(score[i], score[i + 2]);
#pragma unroll
      for (int lanes = 4; lanes < 32; lanes *= 2) high = fmaxf(high, __shfl_xor_sync(~0u, high, lanes));
      if (lane_ < 4) small_->max_of_warp[warp_][column(e)] = high;
    }
    sync();
#pragma unroll
    for (int e = 0; e < T::kThreadColumns; ++e) {
      float high = small_->max_of_warp[0][column(e)];
#pragma unroll
      for (int w = 1; w < 4; ++w) high = fmaxf(high, small_->max_of_warp[w][column(e)]);
      const int i = e / 2 * 4 + e % 2;
      const PageWeights page(max_[e], high, small_->score_scale[column(e)], Math::kWeightExponent);
      keep[e] = page.keep;
      max_[e] = page.max;
      score[i] = page.weight(score[i]);
      score[i + 2] = page.weight(score[i + 2]);
      sum_[e] = __fadd_rn(__fmaf_rn(sum_[e], keep[e], score[i]), score[i + 2]);
      Math::store_p(p_, column(e), position_of(0), score[i]);
      Math::store_p(p_, column(e), position_of(8), score[i + 2]);
    }
  }

  // Sums over the keys of all threads.
  __device__ __forceinline__ void finish_sums() {
#pragma unroll
    for (int e = 0; e < T::kThreadColumns; ++e) {
#pragma unroll
      for (int lanes = 4; lanes < 32; lanes *= 2) {
        sum_[e] = __fadd_rn(sum_[e], __shfl_xor_sync(~0u, sum_[e], lanes));
      }
      if (lane_ < 4) small_->sum_of_warp[warp_][column(e)] = sum_[e];
    }
    sync();  // the next run's sums come after more of these
#pragma unroll
    for (int e = 0; e < T::kThreadColumns; ++e) {
      float sum = small_->sum_of_warp[0][column(e)];
#pragma unroll
      for (int w = 1; w < 4; ++w) sum = __fadd_rn(sum, small_->sum_of_warp[w][column(e)]);
      sum_[e] = sum;
    }
  }

  __device__ __forceinline__ void store_partial(const AttentionTile& tile, int kv_head) {
#pragma unroll
    for (int e = 0; e < T::kThreadColumns; ++e) {
      const int c = column(e);
      if (!in_use(tile, c)) continue;
      float* part = call_.partials + partial_offset(tile.first_partial + token_of(c),
                                                    kv_head * group_ + c % group_, heads_, T::kHeadSize);
      const int i = e / 2 * 4 + e % 2;
#pragma unroll
      for (int b = 0; b < T::kBlocks; ++b) {
        part[b * 64 + key_row_] = total_[b][i];
        part[b * 64 + key_row_ + 8] = total_[b][i + 2];
      }
      if (key_row_ == 0) {
        part[T::kHeadSize] = max_[e];
        part[T::kHeadSize + 1] = sum_[e];
      }
    }
  }

  // What is folded so far: totals [kBlocks * kElements], then maxima and sums [kThreadColumns] each.
  __device__ __forceinline__ float& folded(int k) {
    if constexpr (T::kSharedFold) {
      return fold_[k * 128];
    } else {
      return folded_[k];
    }
  }

  __device__ __forceinline__ void fold_run(const AttentionTile& tile, int kv_head, bool first, bool last) {
    constexpr int kTotals = T::kBlocks * T::kElements;
#pragma unroll
    for (int e = 0; e < T::kThreadColumns; ++e) {
      RunFold fold;
      if (!first) {
        fold.max = folded(kTotals + e);
        fold.sum = folded(kTotals + T::kThreadColumns + e);
      }
      float keep, add;
      fold.add(max_[e], sum_[e], keep, add);
      folded(kTotals + e) = fold.max;
      folded(kTotals + T::kThreadColumns + e) = fold.sum;

      const int c = column(e);
      const bool store = last && in_use(tile, c);
      const int64_t row = tile.first_row + token_of(c);
      const int64_t out = (row * heads_ + kv_head * group_ + c % group_) * T::kHeadSize + key_row_;
      const float factor = __fdiv_rn(call_.cache.v_scale, fold.sum);
#pragma unroll
      for (int b = 0; b < T::kBlocks; ++b) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int i = e / 2 * 4 + e % 2 + half * 2, k = b * T::kElements + i;
          const float total = fold_total(first ? 0.0f : folded(k), total_[b][i], keep, add);
          folded(k) = total;
          if (store) store_result(call_.out, out + b * 64 + half * 8, total, factor);
        }
      }
    }
  }

  const AttentionCall& call_;
  const int heads_, group_, warpgroup_, thread_, lane_, warp_, key_row_, column_;
  uint8_t *const shared_, *const q_, *const p_;
  float* const fold_;
  Small* const small_;
  Newest newest_;
  Ring<T> ring_;
  // Of the current run.
  float max_[T::kThreadColumns], sum_[T::kThreadColumns], total_[T::kBlocks][T::kElements];
  float folded_[T::kSharedFold ? 1 : T::kBlocks * T::kElements + 2 * T::kThreadColumns];
};

template <typename T>
__global__ void __launch_bounds__(T::kThreads, T::kBlocksPerSm)
    attend(const __grid_constant__ AttentionCall call, const AttentionTile* tiles, const int32_t* num_tiles,
           int heads) {
  extern __shared__ uint8_t unaligned[];
  uint8_t* shared = unaligned + (-shared_address(unaligned) & 1023);
  const Ring<T> ring = make_ring<T>(shared);
  const int kv_heads = call.cache.kv_heads, items = *num_tiles * kv_heads;
  wait_for_previous();
  if (threadIdx.x >= T::kGroups * 128) {
    if constexpr (T::kGroups > 1) asm volatile("setmaxnreg.dec.sync.aligned.u32 32;");
    if (threadIdx.x / 32 == T::kGroups * 4) {
      load_pages<T>(call, tiles, items, ring);
      let_next_start();
    }
  } else {
    if constexpr (T::kGroups > 1) asm volatile("setmaxnreg.inc.sync.aligned.u32 160;");
    Consumer<T, FinishedTokens> consumer(shared, call, heads, ring, {});
    for (Items at{items}; at.left(); ++at.round) {
      const int item = at.current();
      consumer.attend(tiles[item / kv_heads], item % kv_heads);
    }
  }
}

// Narrow tiles of sequences that have one new token each: finishes its q, k and v too. Pages are asked for
// before the qkv product has ended: all but the newest position are as old as the last step.
template <typename T>
__global__ void __launch_bounds__(T::kThreads, T::kBlocksPerSm)
    decode(const __grid_constant__ QkvFinish finish, const __grid_constant__ AttentionCall call) {
  static_assert(T::kGroups == 1);
  extern __shared__ uint8_t unaligned[];
  uint8_t* shared = unaligned + (-shared_address(unaligned) & 1023);
  const Ring<T> ring = make_ring<T>(shared);
  const AttentionTile* tiles = call.lists.narrow;
  const int kv_heads = call.cache.kv_heads, items = *call.lists.counts * kv_heads;
  if (threadIdx.x >= 128) {
    load_pages<T>(call, tiles, items, ring);
    let_next_start();
    return;
  }
  using Newest = typename T::NewToken;
  Consumer<T, Newest> consumer(shared, call, finish.heads, ring, Newest(finish));
  for (Items at{items}; at.left(); ++at.round) {
    const int item = at.current();
    const AttentionTile tile = tiles[item / kv_heads];
    consumer.prepare(tile);
    if (at.round == 0) wait_for_previous();
    consumer.attend(tile, item % kv_heads);
  }
}

}  // namespace outrider::cuda

// Attention of prompts over FP8 pages of 128 channels: here the tensor cores are the limit, and scores stay
// in the registers that the second product takes its weights from.
//
// Tiling: three consumer warpgroups of 64 rows each, a row being a (token, head of the group): 38 tokens of
// Scout's 5 heads. Each takes every page of the ring that a producer warp fills: scores[64 rows][64 keys] = q
// K^T with q in shared memory, then totals[64 rows][128] += p V with p in registers. A page's scores are made
// while the totals take in the page before, and weighed while they take in this one. A thread has rows lane /
// 4 (+ 8) of its warp's 16, and of scores the columns 8 j + 2 * (lane % 4) (+ 1). Totals of the runs so far
// lie in shared memory.
//
// The same arithmetic as attention_kernel.cuh, in the same order: sums of weights are kept apart by the key's
// row in the page modulo 8 and divided by 16, as the threads there have them.
//
// Floor: 16 products of 64 x 64 x 32 (two terms of q, two of p) a page, KV head and 64 rows, at the tensor
// rate.
#pragma once

#include "cuda/attention_kernel.cuh"

namespace outrider::cuda {

struct PromptTraits {
  using Math = PageMath<model::KvDtype::kFp8E4m3, 128, 64>;
  static constexpr int kHeadSize = 128, kGroups = 3, kRing = 4;
  static constexpr int kThreads = (kGroups + 1) * 128;
  static constexpr int kGroupRows = 64, kRows = kGroups * kGroupRows;
  static constexpr int kImageBytes = Math::Image::kBytes;
  static constexpr int kTotals = kHeadSize / 2;  // of a thread

  struct RowInfo {
    float score_scale[kRows];
    int32_t last_key[kRows];  // that the row may see; -1: the row is not in use
  };
  static constexpr int kQ = kRing * kImageBytes;
  static constexpr int kFold = kQ + kGroups * Math::kQBytes;
  static constexpr int kRowInfo = kFold + kGroups * kTotals * 128 * 4;
  static constexpr int kBarriers = kRowInfo + static_cast<int>(sizeof(RowInfo));
  static constexpr int kSharedBytes = kBarriers + 2 * kRing * 8 + 1024;
};

// The pages of a tile, run by run, in the producer's order.
class TilePages {
 public:
  __device__ __forceinline__ explicit TilePages(const AttentionTile& tile)
      : end_run_(TileRuns(tile).end), run_(TileRuns(tile).first) {
    start_run(tile);
  }
  __device__ __forceinline__ int first_key() const { return (first_page_ + page_) * kPagePositions; }
  __device__ __forceinline__ int run_begin() const { return run_begin_; }
  __device__ __forceinline__ bool starts_run() const { return page_ == 0; }
  __device__ __forceinline__ bool left() const { return run_ < end_run_; }
  __device__ __forceinline__ void advance(const AttentionTile& tile) {
    if (++page_ < num_pages_) return;
    ++run_;
    start_run(tile);
  }

 private:
  __device__ __forceinline__ void start_run(const AttentionTile& tile) {
    const RunKeys keys(tile, run_);
    run_begin_ = keys.begin;
    first_page_ = keys.first_page();
    num_pages_ = keys.num_pages();
    page_ = 0;
  }
  int end_run_, run_, run_begin_, first_page_, num_pages_, page_;
};

// One consumer warpgroup.
class PromptConsumer {
 public:
  using T = PromptTraits;
  using Math = T::Math;

  __device__ __forceinline__ PromptConsumer(uint8_t* shared, const AttentionCall& call, int heads,
                                            Ring<T> ring)
      : call_(call),
        heads_(heads),
        group_(heads / call.cache.kv_heads),
        warpgroup_(uniform(threadIdx.x / 128)),
        lane_(threadIdx.x % 32),
        first_row_(threadIdx.x / 32 * 16 + lane_ / 4),
        column_(lane_ % 4 * 2),
        shared_(shared),
        q_(shared + T::kQ + warpgroup_ * Math::kQBytes),
        fold_(reinterpret_cast<float*>(shared + T::kFold) + warpgroup_ * T::kTotals * 128 +
              threadIdx.x % 128),
        rows_(reinterpret_cast<T::RowInfo*>(shared + T::kRowInfo)),
        ring_(ring) {
    ring_.parity = 0;
  }

  __device__ __forceinline__ void attend(const AttentionTile& tile, int kv_head) {
    load_q(tile, kv_head);
    const float scale[2] = {rows_->score_scale[first_row_], rows_->score_scale[first_row_ + 8]};
    const int last_key[2] = {rows_->last_key[first_row_], rows_->last_key[first_row_ + 8]};
    const float nothing = hidden_zero();
    float score[32], total[T::kTotals], keep[2];
    clear(total, nothing);
    Weights weights;
    WeightPairs next;
    RunSums sums;  // of the run whose page was weighed last
    sums.clear(nothing);
    RunFold fold[2];
    bool any_folded = false;

    TilePages pages(tile);
    open_page(tile, pages.first_key());
    prepare(score, total);
    start_scores(score);
    wgmma_wait<0>();
    pin(score);
    weigh(tile, pages, scale, last_key, score, sums, keep, next);
    next.join(weights);
    for (pages.advance(tile); pages.left(); pages.advance(tile)) {
      const uint32_t image = ring_.image(), empty = ring_.empty();
      ring_.advance();
      open_page(tile, pages.first_key());
      prepare(score, total);
      start_scores(score);
      start_values(total, weights, image);
      wgmma_wait<1>();
      pin(score);
      float max[2], sum[2];  // of a run that ended
      const bool ended = pages.starts_run();
      if (ended) sums.finish(max, sum, nothing);
      weigh(tile, pages, scale, last_key, score, sums, keep, next);
      const bool rescales = __any_sync(~0u, keep[0] != 1.0f || keep[1] != 1.0f);
      // Never so. The compiler would wait for the products first and weigh then, were there no branch
      // between.
      if (sums.sum[1][7] < 0.0f) barrier_wait(ring_.full(), ring_.parity);
      wgmma_wait<0>();
      pin(total);
      give_back(empty, false);  // another page follows, so this one was full
      if (ended) {
        fold_run(any_folded, max, sum, total, fold);
        store_fold(total);
        clear(total, nothing);
        any_folded = true;
      } else if (rescales) {
#pragma unroll
        for (int i = 0; i < T::kTotals; ++i) total[i] = __fmul_rn(total[i], keep[i / 2 % 2]);
      }
      next.join(weights);
    }
    prepare(score, total);
    start_values(total, weights, ring_.image());
    wgmma_wait<0>();
    pin(total);
    give_back(ring_.empty(), (tile.first_position + tile.num_tokens) % kPagePositions != 0);
    ring_.advance();
    float max[2], sum[2];
    sums.finish(max, sum, nothing);
    fold_run(any_folded, max, sum, total, fold);
    store(tile, kv_head, last_key, total, fold);
  }

 private:
  // A page's weights of the thread's rows as operand A, of keys 0 to 31 and 32 to 63: leading bits, then the
  // rest.
  using Weights = uint32_t[2][2][4];
  // The same before neighbours are put together: products in flight may read Weights until then.
  struct WeightPairs {
    uint16_t pair[2][2][4][2];
    __device__ __forceinline__ void join(Weights& weights) {
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        uint16_t(&half)[2] = pair[i / 8][i / 4 % 2][i % 4];
        asm volatile("" : "+h"(half[0]), "+h"(half[1]));
        weights[i / 8][i / 4 % 2][i % 4] = half[0] | static_cast<uint32_t>(half[1]) << 16;
      }
    }
  };
  // Of a run so far, for the thread's two rows.
  struct RunSums {
    float max[2], sum[2][8];
    __device__ __forceinline__ void clear(float nothing) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        max[r] = kNoScore;
#pragma unroll
        for (float& s : sum[r]) s = nothing;
      }
    }
    // What the run gave, over the keys of all threads; the next one starts.
    __device__ __forceinline__ void finish(float (&run_max)[2], float (&run_sum)[2], float nothing) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        run_max[r] = max[r];
        run_sum[r] = sum_of(sum[r]);
      }
      clear(nothing);
    }
  };

  // The compiler would clear an array of zeros as memory, and so put it there.
  static __device__ __forceinline__ float hidden_zero() {
    float zero;
    asm volatile("mov.b32 %0, 0;" : "=f"(zero));
    return zero;
  }
  static __device__ __forceinline__ void clear(float (&total)[T::kTotals], float nothing) {
#pragma unroll
    for (float& t : total) t = nothing;
  }
  __device__ __forceinline__ void sync() const {
    asm volatile("bar.sync %0, 128;" ::"r"(warpgroup_ + 1) : "memory");
  }

  // q in the form of operand A, a warp a row, four channels a lane; rows not in use are zero.
  __device__ __forceinline__ void load_q(const AttentionTile& tile, int kv_head) {
    constexpr float kLog2e = 1.44269504f;
    constexpr int kWarpRows = T::kGroupRows / 4;
    const float softmax_scale = rsqrtf(static_cast<float>(T::kHeadSize)) * kLog2e * call_.cache.k_scale;
    const int first = warpgroup_ * T::kGroupRows + threadIdx.x / 32 % 4 * kWarpRows;
    // Rows of a token are neighbouring heads, and those of the next token lie heads_ further.
    uint2 raw[kWarpRows];  // of all rows before any is used: their loads overlap
    const int first_token = first / group_, first_head = first % group_;
    const bf16* head =
        static_cast<const bf16*>(call_.q) +
        ((int64_t{tile.first_row} + first_token) * heads_ + kv_head * group_ + first_head) * T::kHeadSize;
    int token = first_token, in_group = first_head;
    const auto next_row = [&] {
      const bool wraps = ++in_group == group_;
      head += (wraps ? heads_ - group_ + 1 : 1) * T::kHeadSize;
      token += wraps;
      in_group = wraps ? 0 : in_group;
    };
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
      raw[r] = token < tile.num_tokens ? reinterpret_cast<const uint2*>(head)[lane_] : uint2{};
      next_row();
    }
    token = first_token;
    in_group = first_head;
    sync();  // the last tile's products are done
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
      const int row = first + r;
      const float2 low = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(raw[r].x)),
                   high = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(raw[r].y));
      float largest = fmaxf(fmaxf(fabsf(low.x), fabsf(low.y)), fmaxf(fabsf(high.x), fabsf(high.y)));
#pragma unroll
      for (int lanes = 16; lanes > 0; lanes /= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lanes));
      }
      const float scale = Math::q_scale(largest);
      const float x[4] = {low.x * scale, low.y * scale, high.x * scale, high.y * scale};
      Math::store_q(q_, row % T::kGroupRows, 4 * lane_, x);
      if (lane_ == 0) {
        rows_->score_scale[row] = softmax_scale * Math::inverse_of_power(scale);
        rows_->last_key[row] = token < tile.num_tokens ? tile.first_position + token : -1;
      }
      next_row();
    }
    fence_for_async_proxy();
    sync();
  }

  // Waits for the next page of the ring, whose first key is `page_key`.
  __device__ __forceinline__ void open_page(const AttentionTile& tile, int page_key) {
    barrier_wait(ring_.full(), ring_.parity);
    const int written = tile.first_position + tile.num_tokens - page_key;
    if (written >= kPagePositions) return;
    Math::clear_values(shared_ + ring_.stage * T::kImageBytes, written, threadIdx.x, T::kGroups * 128);
    fence_for_async_proxy();
    asm volatile("bar.sync 15, %0;" ::"n"(T::kGroups * 128) : "memory");
  }

  // Accumulators are in place: nothing but products may touch them from here to the wait.
  static __device__ __forceinline__ void prepare(float (&score)[32], float (&total)[T::kTotals]) {
    pin(score);
    pin(total);
    wgmma_fence();
  }
  // Of the page that was opened last.
  __device__ __forceinline__ void start_scores(float (&score)[32]) {
    const uint64_t k = swizzled_operand(ring_.image());
#pragma unroll
    for (int term = 0; term < 2; ++term) {
      const uint64_t q = swizzled_operand(shared_address(q_) + term * Math::kQTile);
#pragma unroll
      for (int j = 0; j < 4; ++j) Wgmma<Fp8, 64>::run(score, q + 2 * j, k + 2 * j, term > 0 || j > 0);
    }
    wgmma_commit();
  }

  static __device__ __forceinline__ void start_values(float (&total)[T::kTotals], const Weights& weights,
                                                      uint32_t image) {
    const uint64_t v = swizzled_operand_64(image + Math::Image::kPartBytes);
    wgmma_fp8_128(total, weights[0][0], v);
    wgmma_fp8_128(total, weights[0][1], v + 2);
    wgmma_fp8_128(total, weights[1][0], v);
    wgmma_fp8_128(total, weights[1][1], v + 2);
    wgmma_commit();
  }

  // Scores of a page become weights, and join the sums of its run.
  __device__ __forceinline__ void weigh(const AttentionTile& tile, const TilePages& page,
                                        const float (&scale)[2], const int (&last_key)[2], float (&score)[32],
                                        RunSums& sums, float (&keep)[2], WeightPairs& weights) {
    const int page_key = page.first_key(), run_begin = page.run_begin(), run_end = run_begin + kKeyRun,
              page_end = page_key + kPagePositions;
    if (page_key < run_begin || page_end > run_end || page_end > tile.first_position + 1) {
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        const int key = page_key + Math::Image::position_of(i / 4 * 8 + column_ + i % 2);
        if (key < run_begin || key > min(last_key[i / 2 % 2], run_end - 1)) score[i] = -INFINITY;
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      weigh_row(score, r, scale[r], sums.max[r], keep[r], sums.sum[r]);
      split(score, r, weights);
    }
  }

  // Products of row r of the thread become weights.
  static __device__ __forceinline__ void weigh_row(float (&score)[32], int r, float scale, float& max,
                                                   float& keep, float (&sum)[8]) {
    float high = score[2 * r];
#pragma unroll
    for (int j = 0; j < 8; ++j) high = fmaxf(high, fmaxf(score[4 * j + 2 * r], score[4 * j + 2 * r + 1]));
    high = fmaxf(high, __shfl_xor_sync(~0u, high, 1));
    high = fmaxf(high, __shfl_xor_sync(~0u, high, 2));
    const PageWeights page(max, high, scale, Math::kWeightExponent);
    max = page.max;
    keep = page.keep;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
#pragma unroll
      for (int b = 0; b < 2; ++b) {
        float& first = score[8 * w + 2 * r + b];
        float& second = score[8 * w + 4 + 2 * r + b];
        first = page.weight(first);
        second = page.weight(second);
        sum[2 * w + b] = __fadd_rn(__fmaf_rn(sum[2 * w + b], keep, first), second);
      }
    }
  }

  // Weights of row r as operand A: the keys' rows in a page are permuted so that a thread has four
  // neighbours.
  static __device__ __forceinline__ void split(const float (&weight)[32], int r, WeightPairs& pairs) {
#pragma unroll
    for (int half = 0; half < 4; ++half) {  // of 16 keys
      const float w[4] = {weight[8 * half + 2 * r], weight[8 * half + 2 * r + 1],
                          weight[8 * half + 4 + 2 * r], weight[8 * half + 4 + 2 * r + 1]};
      float lead[4], left[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        lead[i] = leading_bits(w[i]);
        left[i] = __fsub_rn(w[i], lead[i]);
      }
      store_pairs(pairs.pair[0][half / 2][half % 2 * 2 + r], lead);
      store_pairs(pairs.pair[1][half / 2][half % 2 * 2 + r], left);
    }
  }
  static __device__ __forceinline__ void store_pairs(uint16_t (&pair)[2], const float (&w)[4]) {
    pair[0] = to_e4m3x2(w[0], w[1]);
    pair[1] = to_e4m3x2(w[2], w[3]);
  }

  // Over the keys of all threads.
  static __device__ __forceinline__ float sum_of(const float (&sum)[8]) {
    float all = 0.0f;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      float part = __fadd_rn(sum[2 * w], sum[2 * w + 1]);
      part = __fadd_rn(part, __shfl_xor_sync(~0u, part, 1));
      part = __fadd_rn(part, __shfl_xor_sync(~0u, part, 2));
      all = w == 0 ? part : __fadd_rn(all, part);
    }
    return all;
  }

  // total = what is folded so far and the run that ends.
  __device__ __forceinline__ void fold_run(bool any_folded, const float (&max)[2], const float (&sum)[2],
                                           float (&total)[T::kTotals], RunFold (&fold)[2]) const {
    float keep[2], add[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) fold[r].add(max[r], sum[r], keep[r], add[r]);
#pragma unroll
    for (int i = 0; i < T::kTotals; ++i) {
      const int r = i / 2 % 2;
      total[i] = fold_total(any_folded ? fold_[i * 128] : 0.0f, total[i], keep[r], add[r]);
    }
  }
  __device__ __forceinline__ void store_fold(const float (&total)[T::kTotals]) const {
#pragma unroll
    for (int i = 0; i < T::kTotals; ++i) fold_[i * 128] = total[i];
  }

  __device__ __forceinline__ void store(const AttentionTile& tile, int kv_head, const int (&last_key)[2],
                                        const float (&total)[T::kTotals], const RunFold (&fold)[2]) const {
    const Divisor divisor(call_.out.scale);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (last_key[r] < 0) continue;
      const int row = first_row_ + 8 * r;
      const int64_t head = int64_t{tile.first_row + row / group_} * heads_ + kv_head * group_ + row % group_;
      const int64_t out = head * T::kHeadSize + column_;
      const float factor = __fdiv_rn(call_.cache.v_scale, fold[r].sum);
#pragma unroll
      for (int j = 0; j < T::kHeadSize / 8; ++j) {
        const int i = 4 * j + 2 * r;
        store_results(call_.out, divisor, out + 8 * j, total[i], total[i + 1], factor);
      }
    }
  }

  const AttentionCall& call_;
  const int heads_, group_, warpgroup_, lane_, first_row_, column_;
  uint8_t *const shared_, *const q_;
  float* const fold_;
  T::RowInfo* const rows_;
  Ring<T> ring_;
};

template <typename T>
__global__ void __launch_bounds__(T::kThreads, 1)
    attend_prompt(const __grid_constant__ AttentionCall call, const AttentionTile* tiles,
                  const int32_t* num_tiles, int heads) {
  extern __shared__ uint8_t unaligned[];
  uint8_t* shared = unaligned + (-shared_address(unaligned) & 1023);
  const Ring<T> ring = make_ring<T>(shared);
  wait_for_previous();
  const int kv_heads = call.cache.kv_heads, items = *num_tiles * kv_heads;
  if (threadIdx.x >= T::kGroups * 128) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 32;");
    if (threadIdx.x / 32 == T::kGroups * 4) {
      load_pages<T>(call, tiles, items, ring);
      let_next_start();
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 160;");
    PromptConsumer consumer(shared, call, heads, ring);
    for (Items at{items}; at.left(); ++at.round) {
      const int item = at.current();
      const AttentionTile tile = tiles[item / kv_heads];
      consumer.attend(tile, item % kv_heads);
    }
  }
}

}  // namespace outrider::cuda

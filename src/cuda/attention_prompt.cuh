// Attention of prompts over FP8 pages of 128 channels: here the tensor cores are the limit, and scores stay
// in the registers that the second product takes its weights from.
//
// Tiling: three consumer warpgroups of 64 rows each, a row being a (token, head of the group): 38 tokens of
// Scout's 5 heads. Each takes every page of the ring that a producer warp fills: scores[64 rows][64 keys] = q
// K^T with q in shared memory, then totals[64 rows][128] += p V with p in registers; the three overlap one's
// softmax with others' products. A thread has rows lane / 4 (+ 8) of its warp's 16, and of scores the columns
// 8 j + 2 * (lane % 4) (+ 1). Totals of the runs so far lie in shared memory.
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
        warpgroup_(threadIdx.x / 128),
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
    const TileRuns runs(tile);
    RunFold fold[2];
    for (int run = runs.first; run < runs.end; ++run) {
      const RunKeys keys(tile, run);
      const float nothing = hidden_zero();
      float total[T::kTotals], max[2], sum[2][8];
#pragma unroll
      for (int i = 0; i < T::kTotals; ++i) total[i] = nothing;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        max[r] = kNoScore;
#pragma unroll
        for (int i = 0; i < 8; ++i) sum[r][i] = nothing;
      }
      const int pages = keys.num_pages();
      for (int i = 0; i < pages; ++i) {
        add_page(tile, keys, (keys.first_page() + i) * kPagePositions, scale, last_key, max, sum, total);
      }
      const float sums[2] = {sum_of(sum[0]), sum_of(sum[1])};
      fold_run(run == runs.first, max, sums, total, fold);
      if (run + 1 == runs.end) store(tile, kv_head, last_key, fold);
    }
  }

 private:
  // The compiler would clear an array of zeros as memory, and so put it there.
  static __device__ __forceinline__ float hidden_zero() {
    float zero;
    asm volatile("mov.b32 %0, 0;" : "=f"(zero));
    return zero;
  }
  __device__ __forceinline__ void sync() const {
    asm volatile("bar.sync %0, 128;" ::"r"(warpgroup_ + 1) : "memory");
  }

  // q in the form of operand A, a warp a row; rows not in use are zero.
  __device__ __forceinline__ void load_q(const AttentionTile& tile, int kv_head) {
    constexpr float kLog2e = 1.44269504f;
    const float softmax_scale = rsqrtf(static_cast<float>(T::kHeadSize)) * kLog2e * call_.cache.k_scale;
    sync();  // the last tile's products are done
#pragma unroll 4
    for (int r = threadIdx.x / 32 % 4; r < T::kGroupRows; r += 4) {
      const int row = warpgroup_ * T::kGroupRows + r, token = row / group_;
      const bool used = token < tile.num_tokens;
      float2 pair[2] = {};
      if (used) {
        const int64_t head = int64_t{tile.first_row + token} * heads_ + kv_head * group_ + row % group_;
        const auto* from = reinterpret_cast<const __nv_bfloat162*>(static_cast<const bf16*>(call_.q)) +
                           head * (T::kHeadSize / 2) + lane_;
        pair[0] = __bfloat1622float2(from[0]);
        pair[1] = __bfloat1622float2(from[32]);
      }
      float largest =
          fmaxf(fmaxf(fabsf(pair[0].x), fabsf(pair[0].y)), fmaxf(fabsf(pair[1].x), fabsf(pair[1].y)));
#pragma unroll
      for (int lanes = 16; lanes > 0; lanes /= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lanes));
      }
      const float scale = Math::q_scale(largest);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        Math::store_q(q_, r, 2 * (lane_ + 32 * i), pair[i].x * scale, pair[i].y * scale);
      }
      if (lane_ == 0) {
        rows_->score_scale[row] = __fdiv_rn(softmax_scale, scale);
        rows_->last_key[row] = used ? tile.first_position + token : -1;
      }
    }
    fence_for_async_proxy();
    sync();
  }

  __device__ __forceinline__ void add_page(const AttentionTile& tile, const RunKeys& keys, int page_key,
                                           const float (&scale)[2], const int (&last_key)[2], float (&max)[2],
                                           float (&sum)[2][8], float (&total)[T::kTotals]) {
    barrier_wait(ring_.full(), ring_.parity);
    const int written = tile.first_position + tile.num_tokens - page_key;
    if (written < kPagePositions) {
      Math::clear_values(shared_ + ring_.stage * T::kImageBytes, written, threadIdx.x, T::kGroups * 128);
      fence_for_async_proxy();
      asm volatile("bar.sync 15, %0;" ::"n"(T::kGroups * 128) : "memory");
    }

    float score[32];
    pin(score);
    wgmma_fence();
    const uint64_t k = swizzled_operand(ring_.image());
#pragma unroll
    for (int term = 0; term < 2; ++term) {
      const uint64_t q = swizzled_operand(shared_address(q_) + term * Math::kQTile);
#pragma unroll
      for (int j = 0; j < 4; ++j) Wgmma<Fp8, 64>::run(score, q + 2 * j, k + 2 * j, term > 0 || j > 0);
    }
    wgmma_commit();
    wgmma_wait<0>();
    pin(score);

    const int run_end = keys.begin + kKeyRun, page_end = page_key + kPagePositions;
    if (page_key < keys.begin || page_end > run_end || page_end > tile.first_position + 1) {
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        const int key = page_key + Math::Image::position_of(i / 4 * 8 + column_ + i % 2);
        if (key < keys.begin || key > min(last_key[i / 2 % 2], run_end - 1)) score[i] = -INFINITY;
      }
    }
    uint32_t leading[2][4], rest[2][4];
    float keep[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      weigh(score, r, scale[r], max[r], keep[r], sum[r]);
      split(score, r, leading, rest);
    }
    if (__any_sync(~0u, keep[0] != 1.0f || keep[1] != 1.0f)) {
#pragma unroll
      for (int i = 0; i < T::kTotals; ++i) total[i] = __fmul_rn(total[i], keep[i / 2 % 2]);
    }

    pin(total);
    wgmma_fence();
    const uint64_t v = swizzled_operand_64(ring_.image() + Math::Image::kPartBytes);
    wgmma_fp8_128(total, leading[0], v);
    wgmma_fp8_128(total, leading[1], v + 2);
    wgmma_fp8_128(total, rest[0], v);
    wgmma_fp8_128(total, rest[1], v + 2);
    wgmma_commit();
    wgmma_wait<0>();
    pin(total);
    if (lane_ == 0) barrier_arrive(ring_.empty());
    ring_.advance();
  }

  // Products of row r of the thread become weights.
  static __device__ __forceinline__ void weigh(float (&score)[32], int r, float scale, float& max,
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
  static __device__ __forceinline__ void split(const float (&weight)[32], int r, uint32_t (&leading)[2][4],
                                               uint32_t (&rest)[2][4]) {
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
      leading[half / 2][half % 2 * 2 + r] = packed(lead);
      rest[half / 2][half % 2 * 2 + r] = packed(left);
    }
  }
  static __device__ __forceinline__ uint32_t packed(const float (&w)[4]) {
    return to_e4m3x2(w[0], w[1]) | static_cast<uint32_t>(to_e4m3x2(w[2], w[3])) << 16;
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

  __device__ __forceinline__ void fold_run(bool first, const float (&max)[2], const float (&sum)[2],
                                           const float (&total)[T::kTotals], RunFold (&fold)[2]) {
    float keep[2], add[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) fold[r].add(max[r], sum[r], keep[r], add[r]);
#pragma unroll
    for (int i = 0; i < T::kTotals; ++i) {
      const int r = i / 2 % 2;
      fold_[i * 128] = fold_total(first ? 0.0f : fold_[i * 128], total[i], keep[r], add[r]);
    }
  }

  __device__ __forceinline__ void store(const AttentionTile& tile, int kv_head, const int (&last_key)[2],
                                        const RunFold (&fold)[2]) {
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
        store_results(call_.out, out + 8 * j, fold_[i * 128], fold_[(i + 1) * 128], factor);
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
      consumer.attend(tiles[item / kv_heads], item % kv_heads);
    }
  }
}

}  // namespace outrider::cuda

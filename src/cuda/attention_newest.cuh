// The new token of a sequence that decodes, from the qkv product, by those who attend for it: what
// qkv_finish does to q, k and v, in its order and with its roundings, and then what the attention kernel does
// to q.
#pragma once

#include "cuda/attention_page.cuh"
#include "cuda/qkv_head.cuh"

namespace outrider::cuda {

// One head of q, by a warp, as operand B. Returns what its products with keys are multiplied by.
template <typename Math, int kHeadDim>
__device__ __forceinline__ float finish_query(const QkvFinish& finish, const Rotation<kHeadDim>& rotation,
                                              int position, Lane<kHeadDim> x, uint8_t* q, int column) {
  constexpr float kLog2e = 1.44269504f;
  turn(finish, rotation, x);
  if (!finish.rope_frequencies) {
    const float factor = temperature(finish, position);
#pragma unroll
    for (float& value : x.value) value *= factor;
  }
  float largest = 0.0f;
#pragma unroll
  for (float& value : x.value) {
    value = __bfloat162float(__float2bfloat16(value));
    largest = fmaxf(largest, fabsf(value));
  }
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lanes));
  }
  const float scale = Math::q_scale(largest);
  constexpr int kCount = Lane<kHeadDim>::kCount;
  const int channel = static_cast<int>(threadIdx.x % 32) * kCount;
#pragma unroll
  for (int i = 0; i < kCount; i += 2) {
    Math::store_q(q, column, channel + i, x.value[i] * scale, x.value[i + 1] * scale);
  }
  const float softmax_scale = rsqrtf(static_cast<float>(kHeadDim)) * kLog2e * finish.cache.k_scale;
  return __fdiv_rn(softmax_scale, scale);
}

// Where qkv_finish has been.
struct FinishedTokens {
  static constexpr bool kFinishes = false;
};

// By the four warps of a consumer warpgroup, whose threads are a block's first: heads of q in turn, then k
// and v, which stay in two warps' registers until their page is there.
template <model::KvDtype kDtype, int kHeadDim>
class NewToken {
 public:
  static constexpr bool kFinishes = true;
  __device__ __forceinline__ explicit NewToken(const QkvFinish& finish)
      : finish_(finish),
        group_(finish.heads / finish.cache.kv_heads),
        warp_(static_cast<int>(threadIdx.x / 32)) {}

  // What depends on no other kernel of the step.
  __device__ __forceinline__ void prepare(const AttentionTile& tile) {
    row_ = tile.first_row;
    position_ = tile.first_position;
    if (finish_.rope_frequencies) rotation_.at(finish_.rope_frequencies, position_);
  }

  template <typename Math>
  __device__ __forceinline__ void finish(int kv_head, uint8_t* q, float* score_scale) {
    kv_head_ = kv_head;
    const int heads = finish_.heads, kv_heads = finish_.cache.kv_heads;
    const bf16* in =
        static_cast<const bf16*>(finish_.qkv) + int64_t{row_} * (heads + 2 * kv_heads) * kHeadDim;
    const bool has_key = warp_ == key_warp(), has_value = warp_ == value_warp();
    if (has_key || has_value) {
      newest_ = load_head<kHeadDim>(in + (heads + (has_value ? kv_heads : 0) + kv_head) * kHeadDim);
    }
    constexpr int kHeads = Math::kColumns / 4;  // of a warp
    Lane<kHeadDim> x[kHeads] = {};
#pragma unroll
    for (int i = 0; i < kHeads; ++i) {
      const int column = warp_ + 4 * i;
      if (column < group_) x[i] = load_head<kHeadDim>(in + (kv_head * group_ + column) * kHeadDim);
    }
#pragma unroll
    for (int i = 0; i < kHeads; ++i) {
      const float scale = finish_query<Math>(finish_, rotation_, position_, x[i], q, warp_ + 4 * i);
      if (threadIdx.x % 32 == 0) score_scale[warp_ + 4 * i] = scale;
    }
    if (has_key) turn(finish_, rotation_, newest_);
  }

  // k and v into the cache and into the page's image in shared memory.
  __device__ __forceinline__ void put(uint8_t* image) const {
    uint8_t* cached = page_of(finish_, row_) + kv_head_ * finish_.cache.head_bytes;
    const int position = position_ % kPagePositions;
    if (warp_ == key_warp()) {
      const Divisor scale(finish_.cache.k_scale);
      store_key<kDtype>(image, position, newest_, scale);
      store_key<kDtype>(cached, position, newest_, scale);
    } else if (warp_ == value_warp()) {
      const Divisor scale(finish_.cache.v_scale);
      store_value<kDtype>(image, position, newest_, scale);
      store_value<kDtype>(cached, position, newest_, scale);
    }
  }

 private:
  __device__ __forceinline__ int key_warp() const { return group_ % 4; }
  __device__ __forceinline__ int value_warp() const { return (group_ + 1) % 4; }

  const QkvFinish& finish_;
  const int group_, warp_;
  int row_, position_, kv_head_;
  Rotation<kHeadDim> rotation_;
  Lane<kHeadDim> newest_{};
};

}  // namespace outrider::cuda

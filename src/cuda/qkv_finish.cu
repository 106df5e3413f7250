// One block a row, or several where rows are few; one warp a head: a lane has head_dim / 32 neighbouring
// channels, so whole pairs. Floor: the bytes of qkv, q and the cache once (28 KiB a row for Scout); a decode
// step has too few to matter.
#include "cuda/qkv_finish.h"

#include "cuda/kv_image.cuh"
#include "cuda/launch.cuh"
#include "cuda/number_formats.cuh"

namespace outrider::cuda {
namespace {

using model::KvDtype;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// A lane's channels of one head.
template <int kHeadDim>
struct Lane {
  static constexpr int kCount = kHeadDim / 32;
  float value[kCount];
};

template <int kHeadDim>
__device__ __forceinline__ Lane<kHeadDim> load_head(const bf16* head) {
  Lane<kHeadDim> x;
  const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(head) + threadIdx.x % 32 * (x.kCount / 2);
#pragma unroll
  for (int i = 0; i < x.kCount / 2; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    x.value[2 * i] = pair.x;
    x.value[2 * i + 1] = pair.y;
  }
  return x;
}

template <int kHeadDim>
__device__ __forceinline__ void store_head(bf16* head, const Lane<kHeadDim>& x) {
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(head) + threadIdx.x % 32 * (x.kCount / 2);
#pragma unroll
  for (int i = 0; i < x.kCount / 2; ++i) {
    pairs[i] = __floats2bfloat162_rn(x.value[2 * i], x.value[2 * i + 1]);
  }
}

// cos and sin of the angles of this lane's pairs. In fp32 with the full-range functions, as the reference
// implementation: positions multiply the frequencies' rounding.
template <int kHeadDim>
struct Rotation {
  static constexpr int kPairs = kHeadDim / 64;
  float cosine[kPairs], sine[kPairs];

  __device__ __forceinline__ void at(const float* frequencies, int position) {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const float angle = __fmul_rn(static_cast<float>(position), frequencies[threadIdx.x % 32 * kPairs + i]);
      sincosf(angle, &sine[i], &cosine[i]);
    }
  }
  __device__ __forceinline__ void apply(Lane<kHeadDim>& x) const {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const float a = x.value[2 * i], b = x.value[2 * i + 1];
      x.value[2 * i] = a * cosine[i] - b * sine[i];
      x.value[2 * i + 1] = a * sine[i] + b * cosine[i];
    }
  }
};

// x / sqrt(mean(x^2) + eps)
template <int kHeadDim>
__device__ __forceinline__ void normalise(Lane<kHeadDim>& x, float eps) {
  float sum = 0.0f;
#pragma unroll
  for (float value : x.value) sum += value * value;
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
  const float factor = __frcp_rn(__fsqrt_rn(sum / kHeadDim + eps));
#pragma unroll
  for (float& value : x.value) value *= factor;
}

// K of one position: a lane's channels lie in one 16-byte piece of the image.
template <KvDtype kDtype, int kHeadDim>
__device__ __forceinline__ void store_key(uint8_t* image, int position, const Lane<kHeadDim>& x,
                                          float scale) {
  constexpr int kCount = Lane<kHeadDim>::kCount;
  uint8_t* to =
      image + KvImage<kDtype, kHeadDim>::key_offset(position, static_cast<int>(threadIdx.x % 32) * kCount);
#pragma unroll
  for (int i = 0; i < kCount; i += 2) {
    const float a = x.value[i], b = x.value[i + 1];
    if constexpr (kDtype == KvDtype::kFp8E4m3) {
      *reinterpret_cast<uint16_t*>(to + i) = to_e4m3x2(__fdiv_rn(a, scale), __fdiv_rn(b, scale));
    } else {
      *reinterpret_cast<__nv_bfloat162*>(to + 2 * i) = __floats2bfloat162_rn(a, b);
    }
  }
}

template <KvDtype kDtype, int kHeadDim>
__device__ __forceinline__ void store_value(uint8_t* image, int position, const Lane<kHeadDim>& x,
                                            float scale) {
  constexpr int kCount = Lane<kHeadDim>::kCount;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    uint8_t* to = image + KvImage<kDtype, kHeadDim>::value_offset(
                              position, static_cast<int>(threadIdx.x % 32) * kCount + i);
    if constexpr (kDtype == KvDtype::kFp8E4m3) {
      *to = to_e4m3(__fdiv_rn(x.value[i], scale));
    } else {
      *reinterpret_cast<bf16*>(to) = __float2bfloat16(x.value[i]);
    }
  }
}

__device__ __forceinline__ float temperature(const QkvFinish& call, int position) {
  const float steps = floorf(__fdiv_rn(static_cast<float>(position + 1), call.floor_scale));
  return 1.0f + call.attn_scale * logf(1.0f + steps);
}

template <KvDtype kDtype, int kHeadDim>
__global__ void __launch_bounds__(kThreads) finish(const QkvFinish call) {
  let_next_start();
  const Batch& batch = call.batch;
  const int row = blockIdx.x, warps = gridDim.y * kWarps, kv_heads = call.cache.kv_heads;
  const int warp = blockIdx.y * kWarps + threadIdx.x / 32;
  const int position = batch.positions[row];
  const bool rotates = call.rope_frequencies != nullptr;
  Rotation<kHeadDim> rotation;
  if (rotates) rotation.at(call.rope_frequencies, position);
  auto turn = [&](Lane<kHeadDim>& x) {
    rotation.apply(x);
    if (call.use_qk_norm) normalise(x, call.qk_norm_eps);
  };

  const bf16* q_in =
      static_cast<const bf16*>(call.qkv) + int64_t{row} * (call.heads + 2 * kv_heads) * kHeadDim;
  bf16* q_out = static_cast<bf16*>(call.q) + int64_t{row} * call.heads * kHeadDim;
  const float factor = rotates ? 1.0f : temperature(call, position);
  const int32_t* pages =
      batch.pages + (batch.sequence_of_row[row] * batch.num_groups + call.page_group) * batch.blocks_per_row;
  uint8_t* page = call.cache.base + pages[position / kPagePositions] * call.cache.page_stride;
  wait_for_previous();
  const bf16* k_in = q_in + call.heads * kHeadDim;
  for (int unit = warp; unit < call.heads + kv_heads; unit += warps) {
    if (unit < call.heads) {
      Lane<kHeadDim> x = load_head<kHeadDim>(q_in + unit * kHeadDim);
      if (rotates) {
        turn(x);
      } else {
#pragma unroll
        for (float& value : x.value) value *= factor;
      }
      store_head(q_out + unit * kHeadDim, x);
      continue;
    }
    const int head = unit - call.heads;
    uint8_t* image = page + head * call.cache.head_bytes;
    Lane<kHeadDim> k = load_head<kHeadDim>(k_in + head * kHeadDim);
    if (rotates) turn(k);
    store_key<kDtype>(image, position % kPagePositions, k, call.cache.k_scale);
    store_value<kDtype>(image, position % kPagePositions,
                        load_head<kHeadDim>(k_in + (kv_heads + head) * kHeadDim), call.cache.v_scale);
  }
}

}  // namespace

void qkv_finish(const QkvFinish& call, cudaStream_t stream) {
  const KvLayer& cache = call.cache;
  const bool fp8 = cache.dtype == KvDtype::kFp8E4m3;
  if ((!fp8 && cache.dtype != KvDtype::kBf16) || (cache.head_dim != 64 && cache.head_dim != 128)) {
    throw DeviceError("qkv_finish: no kernel for heads of " + std::to_string(cache.head_dim));
  }
  const auto kernel = cache.head_dim == 128
                          ? (fp8 ? finish<KvDtype::kFp8E4m3, 128> : finish<KvDtype::kBf16, 128>)
                          : (fp8 ? finish<KvDtype::kFp8E4m3, 64> : finish<KvDtype::kBf16, 64>);
  constexpr int kFewRows = 32;
  const int blocks_a_row =
      call.batch.num_rows > kFewRows ? 1 : (call.heads + cache.kv_heads + kWarps - 1) / kWarps;
  launch(kernel, dim3(call.batch.num_rows, blocks_a_row), kThreads, 0, stream, call);
}

}  // namespace outrider::cuda

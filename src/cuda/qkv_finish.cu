// One block a row, or several where rows are few; one warp a head: a lane has head_dim / 32 neighbouring
// channels, so whole pairs. Floor: the bytes of qkv, q and the cache once (28 KiB a row for Scout); a decode
// step has too few to matter.
#include "cuda/qkv_finish.h"

#include "cuda/launch.cuh"
#include "cuda/qkv_head.cuh"

namespace outrider::cuda {
namespace {

using model::KvDtype;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// V of kValueRows rows from `first` on into FP8 images, where a channel's positions are neighbours: 16 bytes
// at once if the rows are neighbours that fill them. A thread takes two channels of every row.
constexpr int kValueRows = 16;
template <int kHeadDim>
__device__ __forceinline__ void finish_values(const QkvFinish& call, int first) {
  using Image = KvImage<KvDtype::kFp8E4m3, kHeadDim>;
  const Batch& batch = call.batch;
  const int rows = min(kValueRows, batch.num_rows - first), kv_heads = call.cache.kv_heads;
  const int last = first + rows - 1, position = batch.positions[first] % kPagePositions;
  const bool together = rows == kValueRows && position % kValueRows == 0 &&
                        batch.sequence_of_row[first] == batch.sequence_of_row[last];
  uint8_t* const page = page_of(call, first);
  const Divisor scale(call.cache.v_scale);
  const int64_t stride = int64_t{call.heads + 2 * kv_heads} * kHeadDim;
  wait_for_previous();
  const bf16* v = static_cast<const bf16*>(call.qkv) + first * stride + (call.heads + kv_heads) * kHeadDim;
  for (int channel = 2 * threadIdx.x; channel < kv_heads * kHeadDim; channel += 2 * kThreads) {
    const int head = channel / kHeadDim, in_head = channel % kHeadDim;
    __nv_bfloat162 pair[kValueRows];
#pragma unroll
    for (int r = 0; r < kValueRows; ++r) {
      pair[r] = *reinterpret_cast<const __nv_bfloat162*>(v + min(r, rows - 1) * stride + channel);
    }
    uint32_t codes[2][kValueRows / 4] = {};  // of a channel
#pragma unroll
    for (int r = 0; r < kValueRows; ++r) {
      const float2 x = __bfloat1622float2(pair[r]);
      const uint16_t both = to_e4m3x2(scale.quotient(x.x), scale.quotient(x.y));
      codes[0][r / 4] |= (both & 0xFFu) << r % 4 * 8;
      codes[1][r / 4] |= (both >> 8 & 0xFFu) << r % 4 * 8;
    }
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      uint8_t* const image = page + head * call.cache.head_bytes;
      if (together) {
        *reinterpret_cast<uint4*>(image + Image::value_offset(position, in_head + c)) =
            make_uint4(codes[c][0], codes[c][1], codes[c][2], codes[c][3]);
        continue;
      }
#pragma unroll
      for (int r = 0; r < kValueRows; ++r) {
        if (r >= rows) continue;
        uint8_t* const own = page_of(call, first + r) + head * call.cache.head_bytes;
        own[Image::value_offset(batch.positions[first + r] % kPagePositions, in_head + c)] =
            codes[c][r / 4] >> r % 4 * 8 & 0xFF;
      }
    }
  }
}

// kManyRows: the first blocks take V of kValueRows rows each, the others a row each but for V.
template <KvDtype kDtype, int kHeadDim, bool kManyRows>
__global__ void __launch_bounds__(kThreads) finish(const QkvFinish call) {
  let_next_start();
  const Batch& batch = call.batch;
  const int block = blockIdx.x, value_blocks = kManyRows ? (batch.num_rows + kValueRows - 1) / kValueRows : 0;
  if constexpr (kManyRows) {
    if (block < value_blocks) return finish_values<kHeadDim>(call, block * kValueRows);
  }
  const int row = block - value_blocks, warps = gridDim.y * kWarps, kv_heads = call.cache.kv_heads;
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
  uint8_t* page = page_of(call, row);
  const Divisor k_scale(call.cache.k_scale), v_scale(call.cache.v_scale);
  wait_for_previous();
  const int units = call.heads + kv_heads;
  constexpr int kAtOnce = kManyRows ? 3 : 1;  // whose loads overlap
  for (int begin = warp; begin < units; begin += kAtOnce * warps) {
    Lane<kHeadDim> x[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int unit = begin + i * warps;  // q's and k's heads are neighbours
      if (unit < units) x[i] = load_head<kHeadDim>(q_in + unit * kHeadDim);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int unit = begin + i * warps, head = unit - call.heads;
      if (unit >= units) continue;
      if (rotates) turn(x[i]);
      if (head < 0) {
        if (!rotates) {
#pragma unroll
          for (float& value : x[i].value) value *= factor;
        }
        store_head(q_out + unit * kHeadDim, x[i]);
        continue;
      }
      uint8_t* image = page + head * call.cache.head_bytes;
      store_key<kDtype>(image, position % kPagePositions, x[i], k_scale);
      if constexpr (!kManyRows) {
        store_value<kDtype>(image, position % kPagePositions,
                            load_head<kHeadDim>(q_in + (units + head) * kHeadDim), v_scale);
      }
    }
  }
}

}  // namespace

void qkv_finish(const QkvFinish& call, cudaStream_t stream) {
  const KvLayer& cache = call.cache;
  const bool fp8 = cache.dtype == KvDtype::kFp8E4m3;
  if ((!fp8 && cache.dtype != KvDtype::kBf16) || (cache.head_dim != 64 && cache.head_dim != 128)) {
    throw DeviceError("qkv_finish: no kernel for heads of " + std::to_string(cache.head_dim));
  }
  constexpr int kFewRows = 32;
  const int rows = call.batch.num_rows;
  if (fp8 && rows > kFewRows) {
    const auto kernel =
        cache.head_dim == 128 ? finish<KvDtype::kFp8E4m3, 128, true> : finish<KvDtype::kFp8E4m3, 64, true>;
    launch(kernel, rows + (rows + kValueRows - 1) / kValueRows, kThreads, 0, stream, call);
    return;
  }
  const auto kernel = cache.head_dim == 128
                          ? (fp8 ? finish<KvDtype::kFp8E4m3, 128, false> : finish<KvDtype::kBf16, 128, false>)
                          : (fp8 ? finish<KvDtype::kFp8E4m3, 64, false> : finish<KvDtype::kBf16, 64, false>);
  const int blocks_a_row = rows > kFewRows ? 1 : (call.heads + cache.kv_heads + kWarps - 1) / kWarps;
  launch(kernel, dim3(rows, blocks_a_row), kThreads, 0, stream, call);
}

}  // namespace outrider::cuda

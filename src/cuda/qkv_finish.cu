// One block a row, or several where rows are few; one warp a head: a lane has head_dim / 32 neighbouring
// channels, so whole pairs. Many rows: a lane has eight channels, as four (or two) lanes would, with the same
// sums. Floor: the bytes of qkv, q and the cache once (28 KiB a row for Scout); a decode step has too few to
// matter.
#include "cuda/qkv_finish.h"

#include "cuda/launch.cuh"
#include "cuda/qkv_head.cuh"
#include "cuda/row.cuh"

namespace outrider::cuda {
namespace {

using model::KvDtype;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// In FP8 images a channel's positions are neighbours. Rows that fill 16 bytes of them, as a prompt's do, are
// written as such; whether those from `first` on do:
constexpr int kValueRows = 16;
__device__ __forceinline__ bool fill_values(const Batch& batch, int first) {
  const int last = first + kValueRows - 1;
  return last < batch.num_rows && batch.positions[first] % kValueRows == 0 &&
         batch.sequence_of_row[first] == batch.sequence_of_row[last];
}

// V of such rows. A thread takes two channels of every row, as many blocks as along y share them.
template <int kHeadDim>
__device__ __forceinline__ void finish_values(const QkvFinish& call, int first) {
  using Image = KvImage<KvDtype::kFp8E4m3, kHeadDim>;
  const int kv_heads = call.cache.kv_heads, position = call.batch.positions[first] % kPagePositions;
  uint8_t* const page = page_of(call, first);
  const Divisor scale(call.cache.v_scale);
  const int64_t stride = int64_t{call.heads + 2 * kv_heads} * kHeadDim;
  wait_for_previous();
  const bf16* v = static_cast<const bf16*>(call.qkv) + first * stride + (call.heads + kv_heads) * kHeadDim;
  for (int channel = 2 * (blockIdx.y * kThreads + threadIdx.x); channel < kv_heads * kHeadDim;
       channel += 2 * kThreads * gridDim.y) {
    const int head = channel / kHeadDim, in_head = channel % kHeadDim;
    __nv_bfloat162 pair[kValueRows];
#pragma unroll
    for (int r = 0; r < kValueRows; ++r) {
      pair[r] = *reinterpret_cast<const __nv_bfloat162*>(v + r * stride + channel);
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
      *reinterpret_cast<uint4*>(page + head * call.cache.head_bytes +
                                Image::value_offset(position, in_head + c)) =
          make_uint4(codes[c][0], codes[c][1], codes[c][2], codes[c][3]);
    }
  }
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

  const bf16* q_in =
      static_cast<const bf16*>(call.qkv) + int64_t{row} * (call.heads + 2 * kv_heads) * kHeadDim;
  bf16* q_out = static_cast<bf16*>(call.q) + int64_t{row} * call.heads * kHeadDim;
  const float factor = rotates ? 1.0f : temperature(call, position);
  uint8_t* page = page_of(call, row);
  const Divisor k_scale(call.cache.k_scale), v_scale(call.cache.v_scale);
  wait_for_previous();
  const int units = call.heads + kv_heads;
  for (int unit = warp; unit < units; unit += warps) {  // q's and k's heads are neighbours
    Lane<kHeadDim> x = load_head<kHeadDim>(q_in + unit * kHeadDim);
    const int head = unit - call.heads;
    turn(call, rotation, x);
    if (head < 0) {
      if (!rotates) {
#pragma unroll
        for (float& value : x.value) value *= factor;
      }
      store_head(q_out + unit * kHeadDim, x);
      continue;
    }
    uint8_t* image = page + head * call.cache.head_bytes;
    store_key<kDtype>(image, position % kPagePositions, x, k_scale);
    store_value<kDtype>(image, position % kPagePositions,
                        load_head<kHeadDim>(q_in + (units + head) * kHeadDim), v_scale);
  }
}

// As normalise() of Lane: sums of what would be a lane's, then over the lanes in the same order.
template <int kHeadDim>
__device__ __forceinline__ void normalise(Vector& x, float eps) {
  constexpr int kCount = kHeadDim / 32, kParts = kVector / kCount;
  float sum[kParts];
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    sum[p] = 0.0f;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float value = x.value[p * kCount + i];
      sum[p] = __fmaf_rn(value, value, sum[p]);
    }
#pragma unroll
    for (int lanes = kHeadDim / kVector / 2; lanes > 0; lanes /= 2) {
      sum[p] += __shfl_xor_sync(~0u, sum[p], lanes);
    }
  }
#pragma unroll
  for (int parts = kParts / 2; parts > 0; parts /= 2) {
#pragma unroll
    for (int p = 0; p < parts; ++p) sum[p] += sum[p + parts];
  }
  const float factor = __frcp_rn(__fsqrt_rn(sum[0] / kHeadDim + eps));
#pragma unroll
  for (float& value : x.value) value *= factor;
}

// V of one row into its page. A thread takes kValues channels at once, as many blocks share the row.
template <int kHeadDim, int kBlocksARow, int kValues>
__device__ __forceinline__ void finish_values_of_row(const QkvFinish& call, const bf16* v, uint8_t* page,
                                                     int position, int thread) {
  using Image = KvImage<KvDtype::kFp8E4m3, kHeadDim>;
  const int channels = call.cache.kv_heads * kHeadDim;
  const Divisor scale(call.cache.v_scale);
#pragma unroll 1
  for (int begin = thread; begin < channels; begin += kValues * kBlocksARow * kThreads) {
    bf16 value[kValues];
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const int channel = begin + i * kBlocksARow * kThreads;
      value[i] = channel < channels ? v[channel] : bf16{};
    }
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const int channel = begin + i * kBlocksARow * kThreads;
      if (channel >= channels) break;
      page[channel / kHeadDim * call.cache.head_bytes +
           Image::value_offset(position % kPagePositions, channel % kHeadDim)] =
          to_e4m3(scale.quotient(__bfloat162float(value[i])));
    }
  }
}

// FP8 images. The first blocks along x take V of kValueRows rows each where these fill it; the others take
// the rest of a row each, or as many as along y share it. V of a row that decodes is a byte in each of a
// thousand sectors: with few rows these want all multiprocessors, not a few of each row.
template <int kHeadDim, int kBlocksARow>
__global__ void __launch_bounds__(kThreads, 6) finish_many(const QkvFinish call) {
  using Image = KvImage<KvDtype::kFp8E4m3, kHeadDim>;
  constexpr int kLanes = kHeadDim / kVector, kHeadsAtOnce = kBlocksARow * kThreads / kLanes;
  constexpr int kAtOnce = kBlocksARow > 1 ? 1 : 3;
  __shared__ float4 cosines[kLanes], sines[kLanes];
  let_next_start();
  const Batch& batch = call.batch;
  const int block = blockIdx.x, value_blocks = (batch.num_rows + kValueRows - 1) / kValueRows;
  if (block < value_blocks) {
    if (fill_values(batch, block * kValueRows)) finish_values<kHeadDim>(call, block * kValueRows);
    return;
  }

  const int row = block - value_blocks, units = call.heads + call.cache.kv_heads;
  const int thread = blockIdx.y * kThreads + threadIdx.x, lane = threadIdx.x % kLanes,
            first = thread / kLanes;
  const int position = batch.positions[row];
  const auto* const in = reinterpret_cast<const int4*>(
      static_cast<const bf16*>(call.qkv) + int64_t{row} * (units + call.cache.kv_heads) * kHeadDim);
  auto* const q_out =
      reinterpret_cast<int4*>(static_cast<bf16*>(call.q) + int64_t{row} * call.heads * kHeadDim);
  uint8_t* const page = page_of(call, row);
  const bool takes_values = !fill_values(batch, row / kValueRows * kValueRows);
  wait_for_previous();
  int4 raw[kAtOnce];  // asked for before the angles are there
  const auto load = [&](int begin) {
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int unit = begin + i * kHeadsAtOnce;  // q's and k's heads are neighbours
      raw[i] = unit < units ? in[unit * kLanes + lane] : int4{};
    }
  };
  load(first);
  if (takes_values) {
    finish_values_of_row<kHeadDim, kBlocksARow, kBlocksARow == 1 ? 4 : 2>(
        call, reinterpret_cast<const bf16*>(in) + units * kHeadDim, page, position, thread);
  }
  const bool rotates = call.rope_frequencies != nullptr;
  if (rotates && threadIdx.x < kHeadDim / 2) {
    float sine, cosine;
    sincosf(__fmul_rn(static_cast<float>(position), call.rope_frequencies[threadIdx.x]), &sine, &cosine);
    reinterpret_cast<float*>(cosines)[threadIdx.x] = cosine;
    reinterpret_cast<float*>(sines)[threadIdx.x] = sine;
  }
  __syncthreads();
  const float factor = rotates ? 1.0f : temperature(call, position);
  const Divisor k_scale(call.cache.k_scale);
  for (int base = 0; base < units; base += kAtOnce * kHeadsAtOnce) {
    if (base > 0) load(base + first);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int unit = base + first + i * kHeadsAtOnce, head = unit - call.heads;
      Vector x = unpacked(raw[i]);
      if (rotates) {
        const float4 c = cosines[lane], s = sines[lane];
        const float cosine[4] = {c.x, c.y, c.z, c.w}, sine[4] = {s.x, s.y, s.z, s.w};
#pragma unroll
        for (int p = 0; p < kVector / 2; ++p)
          turn_pair(x.value[2 * p], x.value[2 * p + 1], cosine[p], sine[p]);
        if (call.use_qk_norm) normalise<kHeadDim>(x, call.qk_norm_eps);
      } else if (head < 0) {
#pragma unroll
        for (float& value : x.value) value *= factor;
      }
      if (head < 0) {
        q_out[unit * kLanes + lane] = to_bf16x8(x);
      } else if (unit < units) {
        *reinterpret_cast<uint2*>(page + head * call.cache.head_bytes +
                                  Image::key_offset(position % kPagePositions, lane * kVector)) =
            to_e4m3x8(x, k_scale);
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
  constexpr int kFewRows = 32, kSharedRows = 256, kSharing = 3;
  const int rows = call.batch.num_rows;
  if (fp8 && rows > kFewRows) {
    const bool shared = rows <= kSharedRows;
    const auto kernel = cache.head_dim == 128 ? (shared ? finish_many<128, kSharing> : finish_many<128, 1>)
                                              : (shared ? finish_many<64, kSharing> : finish_many<64, 1>);
    launch(kernel, dim3(rows + (rows + kValueRows - 1) / kValueRows, shared ? kSharing : 1), kThreads, 0,
           stream, call);
    return;
  }
  const auto kernel = cache.head_dim == 128
                          ? (fp8 ? finish<KvDtype::kFp8E4m3, 128> : finish<KvDtype::kBf16, 128>)
                          : (fp8 ? finish<KvDtype::kFp8E4m3, 64> : finish<KvDtype::kBf16, 64>);
  const int blocks_a_row = rows > kFewRows ? 1 : (call.heads + cache.kv_heads + kWarps - 1) / kWarps;
  launch(kernel, dim3(rows, blocks_a_row), kThreads, 0, stream, call);
}

}  // namespace outrider::cuda

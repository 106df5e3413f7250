// The two matrix products of a page on the tensor cores, straight from its image in shared memory:
// scores[64 keys][columns] = K q^T and values[head_dim][columns] = V^T p^T, with K and V^T as operand A.
//
// FP8 images take q and p as e4m3 too. Each is split into a value and a residual, so that about 7 bits of it
// are kept: two tiles, whose products are added up in the same accumulators, values before residuals. bf16
// images take them as bf16.
#pragma once

#include "cuda/kv_image.cuh"
#include "cuda/number_formats.cuh"
#include "cuda/wgmma.cuh"

namespace outrider::cuda {

// As swizzled_operand(), for 64-byte rows with the 64-byte swizzle.
__device__ __forceinline__ uint64_t swizzled_operand_64(uint32_t address) {
  constexpr uint64_t kStride = 512 >> 4, kSwizzle64 = 2;
  return static_cast<uint64_t>((address & 0x3FFFF) >> 4) | (uint64_t{1} << 16) | (kStride << 32) |
         (kSwizzle64 << 62);
}

// A lying MN-major: rows of 64 channels (128 bytes), one row a key. Groups of 8 keys are 1024 bytes apart;
// the other stride is for operands wider than 64 channels, and has no say here.
__device__ __forceinline__ uint64_t swizzled_operand_transposed(uint32_t address) {
  constexpr uint64_t kStride = 1024 >> 4, kSwizzle128 = 1;
  return static_cast<uint64_t>((address & 0x3FFFF) >> 4) | (kStride << 16) | (kStride << 32) |
         (kSwizzle128 << 62);
}

// bf16 product whose A may lie MN-major.
template <int kN, bool kTransposedA>
struct WgmmaBf16;

// clang-format off
template <bool kTransposedA>
struct WgmmaBf16<16, kTransposedA> {
  static __device__ __forceinline__ void run(float (&d)[8], uint64_t a, uint64_t b, bool accumulate) {
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %10, 0; "
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7"
        "}, %8, %9, p, 1, 1, %11, 0; }"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
          "+f"(d[6]), "+f"(d[7])
        : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(static_cast<int>(kTransposedA)));
  }
};

template <bool kTransposedA>
struct WgmmaBf16<32, kTransposedA> {
  static __device__ __forceinline__ void run(float (&d)[16], uint64_t a, uint64_t b, bool accumulate) {
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %18, 0; "
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
        "}, %16, %17, p, 1, 1, %19, 0; }"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
          "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),
          "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
        : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(static_cast<int>(kTransposedA)));
  }
};
// clang-format on

// kN: columns of the instruction. Tiles of q and p start at multiples of 1024 bytes.
template <model::KvDtype kDtype, int kHeadDim, int kN>
struct PageMath;

// A weight's leading four bits. e4m3 holds them, but for weights below 2^-14 of the largest.
__device__ __forceinline__ float leading_bits(float weight) {
  return __uint_as_float(__float_as_uint(weight) & 0xFFF00000u);
}

template <int kHeadDim, int kN>
struct PageMath<model::KvDtype::kFp8E4m3, kHeadDim, kN> {
  using Image = KvImage<model::KvDtype::kFp8E4m3, kHeadDim>;
  static constexpr int kColumns = kN;
  static constexpr int kQTile = kN * kHeadDim, kPTile = kN * kPagePositions;
  static constexpr int kQBytes = 2 * kQTile, kPBytes = 2 * kPTile;
  static constexpr float kWeightExponent = 8.0f;  // of two, that weights are multiplied by; p is at most 1

  // The power of two that brings a row's largest |q| into [128, 256).
  static __device__ __forceinline__ float q_scale(float largest) {
    const int exponent = static_cast<int>(__float_as_uint(largest) >> 23 & 0xFF) - 127;
    return __uint_as_float(static_cast<uint32_t>(127 + 7 - min(max(exponent, -100), 100)) << 23);
  }
  // 1 / scale for what q_scale() gives, exactly.
  static __device__ __forceinline__ float inverse_of_power(float scale) {
    return __uint_as_float((254u << 23) - __float_as_uint(scale));
  }
  // Two neighbouring channels of a column.
  static __device__ __forceinline__ void store_q(uint8_t* q, int column, int channel, float a, float b) {
    const uint16_t value = to_e4m3x2(a, b);
    uint8_t* to = q + q_offset(column, channel);
    *reinterpret_cast<uint16_t*>(to) = value;
    *reinterpret_cast<uint16_t*>(to + kQTile) =
        to_e4m3x2(a - from_e4m3(value & 0xFF), b - from_e4m3(value >> 8));
  }
  // The same of four neighbouring channels.
  static __device__ __forceinline__ void store_q(uint8_t* q, int column, int channel, const float (&x)[4]) {
    const uint32_t value = to_e4m3x2(x[0], x[1]) | static_cast<uint32_t>(to_e4m3x2(x[2], x[3])) << 16;
    float rest[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) rest[i] = x[i] - from_e4m3(value >> 8 * i & 0xFF);
    uint8_t* to = q + q_offset(column, channel);
    *reinterpret_cast<uint32_t*>(to) = value;
    *reinterpret_cast<uint32_t*>(to + kQTile) =
        to_e4m3x2(rest[0], rest[1]) | static_cast<uint32_t>(to_e4m3x2(rest[2], rest[3])) << 16;
  }
  static __device__ __forceinline__ void store_p(uint8_t* p, int column, int position, float weight) {
    const float leading = leading_bits(weight);
    uint8_t* to = p + swizzle_64(column * kPagePositions + position);
    to[0] = to_e4m3(leading);
    to[kPTile] = to_e4m3(__fsub_rn(weight, leading));
  }

  static __device__ __forceinline__ void scores(float (&d)[kN / 2], uint32_t image, uint32_t q) {
#pragma unroll
    for (int term = 0; term < 2; ++term) {
#pragma unroll
      for (int j = 0; j < kHeadDim / 32; ++j) {
        Wgmma<Fp8, kN>::run(d, row_operand(image) + 2 * j, row_operand(q + term * kQTile) + 2 * j,
                            term > 0 || j > 0);
      }
    }
  }
  // Adds to what is in d.
  static __device__ __forceinline__ void values(float (&d)[kHeadDim / 64][kN / 2], uint32_t image,
                                                uint32_t p) {
#pragma unroll
    for (int block = 0; block < kHeadDim / 64; ++block) {
      values_of_block(d[block], image + Image::kPartBytes, block, p);
    }
  }
  // The same for 64 of the channels; `v`: the page's V.
  static __device__ __forceinline__ void values_of_block(float (&d)[kN / 2], uint32_t v, int block,
                                                         uint32_t p) {
    const uint64_t channels = swizzled_operand_64(v + block * 64 * kPagePositions);
#pragma unroll
    for (int term = 0; term < 2; ++term) {
#pragma unroll
      for (int j = 0; j < kPagePositions / 32; ++j) {
        Wgmma<Fp8, kN>::run(d, channels + 2 * j, swizzled_operand_64(p + term * kPTile) + 2 * j, true);
      }
    }
  }

  // Zeroes V from position `end` of the page on: whatever lies there may be NaN, and 0 * NaN is. By `threads`
  // threads.
  static __device__ __forceinline__ void clear_values(uint8_t* image, int end, int thread, int threads) {
    for (int i = thread; i < kHeadDim * 4; i += threads) {
      const int channel = i / 4, first = i % 4 * 16;
      if (first + 16 <= end) continue;
      auto* words = reinterpret_cast<uint32_t*>(image + Image::value_offset(first, channel));
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const int kept = min(max(end - first - 4 * w, 0), 4);
        if (kept < 4) words[w] &= (1u << 8 * kept) - 1;
      }
    }
  }

 private:
  static __device__ __forceinline__ int q_offset(int column, int channel) {
    const int byte = column * kHeadDim + channel;
    return kHeadDim == 128 ? swizzle_128(byte) : swizzle_64(byte);
  }
  static __device__ __forceinline__ uint64_t row_operand(uint32_t address) {
    return kHeadDim == 128 ? swizzled_operand(address) : swizzled_operand_64(address);
  }
};

template <int kHeadDim, int kN>
struct PageMath<model::KvDtype::kBf16, kHeadDim, kN> {
  using Image = KvImage<model::KvDtype::kBf16, kHeadDim>;
  static constexpr int kColumns = kN;
  static constexpr int kQBytes = kN * kHeadDim * 2, kPBytes = kN * kPagePositions * 2;
  static constexpr float kWeightExponent = 0.0f;

  static __device__ __forceinline__ float q_scale(float) { return 1.0f; }
  static __device__ __forceinline__ void store_q(uint8_t* q, int column, int channel, float a, float b) {
    const int offset = channel / 64 * (kN * 128) + swizzle_128(column * 128 + channel % 64 * 2);
    *reinterpret_cast<__nv_bfloat162*>(q + offset) = __floats2bfloat162_rn(a, b);
  }
  static __device__ __forceinline__ void store_p(uint8_t* p, int column, int position, float weight) {
    *reinterpret_cast<bf16*>(p + swizzle_128(column * 128 + position * 2)) = __float2bfloat16(weight);
  }

  static __device__ __forceinline__ void scores(float (&d)[kN / 2], uint32_t image, uint32_t q) {
#pragma unroll
    for (int j = 0; j < kHeadDim / 16; ++j) {
      const int block = j / 4;
      WgmmaBf16<kN, false>::run(d, swizzled_operand(image + block * Image::kBlockBytes) + 2 * (j % 4),
                                swizzled_operand(q + block * kN * 128) + 2 * (j % 4), j > 0);
    }
  }
  static __device__ __forceinline__ void values(float (&d)[kHeadDim / 64][kN / 2], uint32_t image,
                                                uint32_t p) {
#pragma unroll
    for (int block = 0; block < kHeadDim / 64; ++block) {
      const uint64_t v = swizzled_operand_transposed(image + Image::kPartBytes + block * Image::kBlockBytes);
#pragma unroll
      for (int j = 0; j < kPagePositions / 16; ++j) {
        constexpr int k16Keys = 16 * 128 >> 4;  // in a descriptor's units
        WgmmaBf16<kN, true>::run(d[block], v + k16Keys * j, swizzled_operand(p) + 2 * j, true);
      }
    }
  }

  static __device__ __forceinline__ void clear_values(uint8_t* image, int end, int thread, int threads) {
    constexpr int kPieces = 128 / 16;
    for (int i = thread; i < (kPagePositions - end) * kPieces; i += threads) {
#pragma unroll
      for (int block = 0; block < kHeadDim / 64; ++block) {
        uint8_t* row = image + Image::kPartBytes + block * Image::kBlockBytes + (end + i / kPieces) * 128;
        *reinterpret_cast<int4*>(row + i % kPieces * 16) = int4{};
      }
    }
  }
};

}  // namespace outrider::cuda

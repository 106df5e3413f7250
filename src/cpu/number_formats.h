// Scalar conversions between fp32 and the storage formats: bf16, FP8 e4m3 (no infinity, largest 448) and FP4
// e2m1. All round to nearest, ties to even, and saturate. The kernels' vector forms must agree with these.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace outrider::cpu {

inline constexpr float kE4m3Max = 448.0f;
inline constexpr float kE2m1Max = 6.0f;
inline constexpr int kNvfp4Block = 16;  // elements that share one e4m3 scale

inline float bf16_to_float(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

inline uint16_t float_to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return static_cast<uint16_t>((bits >> 16) | 0x40u);  // keep NaN a NaN
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Exponent bias 7 moved to fp32's 127 by a multiplication, which is exact for subnormal codes too.
inline float e4m3_to_float(uint8_t code) {
  const uint32_t bits =
      (static_cast<uint32_t>(code & 0x80u) << 24) | (static_cast<uint32_t>(code & 0x7fu) << 20);
  return std::bit_cast<float>(bits) * 0x1p120f;
}

inline uint8_t float_to_e4m3(float x) {
  const uint32_t all = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (all >> 24) & 0x80u;
  if (std::isnan(x)) return static_cast<uint8_t>(sign | 0x7fu);
  const float magnitude = std::fmin(std::fabs(x), kE4m3Max);
  uint32_t code;
  if (magnitude <
      0x1p-6f) {  // subnormal: multiples of 2^-9, rounded by adding a number whose last bit is 2^-9
    constexpr float kMagic = 0x1.8p14f;
    code = std::bit_cast<uint32_t>(magnitude + kMagic) - std::bit_cast<uint32_t>(kMagic);
  } else {
    const uint32_t bits = std::bit_cast<uint32_t>(magnitude);
    code = ((bits + 0x7ffffu + ((bits >> 20) & 1u)) >> 20) - (120u << 3);
  }
  return static_cast<uint8_t>(sign | code);
}

inline float e2m1_to_float(uint8_t nibble) {
  constexpr float kValues[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  const float magnitude = kValues[nibble & 7u];
  return (nibble & 8u) ? -magnitude : magnitude;
}

// Midpoints between neighbours; a tie goes to the even code.
inline uint8_t float_to_e2m1(float x) {
  const float a = std::fabs(x);
  const int code =
      (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) + (a >= 3.5f) + (a > 5.0f);
  return static_cast<uint8_t>(code | (std::signbit(x) ? 8 : 0));
}

}  // namespace outrider::cpu

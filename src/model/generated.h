// Dummy weights: every 8 bytes are a function of their place alone, so that host and device make the same
// bytes, each for itself and on any number of threads.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace outrider::model {

// How the bytes of a region are drawn. Codes are chosen so that their mean square is known; scales do the
// rest.
enum class Fill {
  kOnes,         // bf16 1.0
  kUniformBf16,  // bf16, uniform up to the region's amplitude
  kFp8Codes,     // e4m3: random sign, exponents 2^-3..2^0, random mantissa
  kNvfp4Codes,   // two uniform e2m1 codes
  kNvfp4Scales,  // e4m3 in [1, 2)
};

struct GeneratedRegion {
  Fill fill = Fill::kOnes;
  float amplitude = 0.0f;
  int64_t offset = 0;  // from GeneratedWeights::base, a multiple of 8
  int64_t bytes = 0;
};

// splitmix64's finaliser (Steele, Lea, Flood 2014): the word at a place is a function of key and place
// alone.
constexpr uint64_t random_word(uint64_t key, uint64_t place) {
  uint64_t z = key + place * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// The middles of 256 equal steps from -amplitude to amplitude, as bf16 (truncated).
constexpr uint16_t uniform_code(uint32_t step, float amplitude) {
  const float value = (static_cast<float>(2 * step + 1) / 256.0f - 1.0f) * amplitude;
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
}

// Eight bytes of a region, from its random word.
constexpr uint64_t generated_word(Fill fill, float amplitude, uint64_t random) {
  switch (fill) {
    case Fill::kOnes:
      return 0x3f803f803f803f80u;
    case Fill::kUniformBf16: {
      uint64_t word = 0;
      for (int lane = 0; lane < 4; ++lane) {
        word |= uint64_t{uniform_code(random >> (8 * lane) & 255, amplitude)} << (16 * lane);
      }
      return word;
    }
    case Fill::kFp8Codes:  // keep sign, two exponent bits and mantissa; exponent field 4..7
      return (random & 0x9f9f9f9f9f9f9f9fu) | 0x2020202020202020u;
    case Fill::kNvfp4Codes:
      return random;
    case Fill::kNvfp4Scales:  // exponent field 7: 1.0 to 1.875
      return (random & 0x0707070707070707u) | 0x3838383838383838u;
  }
  return 0;
}

// Weights that nobody has written yet: `base` is reserved address space, and every view of Weights points
// into it.
struct GeneratedWeights {
  const std::byte* base = nullptr;
  uint64_t key = 0;
  std::vector<GeneratedRegion> regions;  // in order of offset
};

}  // namespace outrider::model

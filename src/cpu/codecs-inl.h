// Per target: how the words of a packed panel become fp32 vectors. A word lane belongs to one output row;
// expand<i> gives the row's i-th column of the word. See number_formats.h for the same conversions written
// plainly.
#if defined(OUTRIDER_CPU_CODECS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef OUTRIDER_CPU_CODECS_INL_H_
#undef OUTRIDER_CPU_CODECS_INL_H_
#else
#define OUTRIDER_CPU_CODECS_INL_H_
#endif

#include <cstdint>

#include "cpu/packed_matrix.h"
#include "hwy/highway.h"

// Loops over register arrays must be unrolled, or the arrays go to memory; GCC does not do it at -O2. One
// lane (scalar code) has no register arrays, and under a sanitizer the unrolled checks would take minutes to
// compile.
#undef OUTRIDER_UNROLL
#if HWY_TARGET == HWY_SCALAR || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OUTRIDER_UNROLL
#elif defined(__clang__)
#define OUTRIDER_UNROLL _Pragma("unroll")
#else
#define OUTRIDER_UNROLL _Pragma("GCC unroll 16")
#endif

HWY_BEFORE_NAMESPACE();
namespace outrider::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using DF = hn::CappedTag<float, kPanelRows>;
using DU = hn::RebindToUnsigned<DF>;
using DI = hn::RebindToSigned<DF>;
using VF = hn::Vec<DF>;
using VU = hn::Vec<DU>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(DF()));
constexpr int kVecs = kPanelRows / kLanes;  // vectors that hold one value of each row of a panel

// `bits` holds e4m3 codes in its top bytes, anything below. Sign, exponent and mantissa move to fp32's
// places; the multiplication corrects the exponent bias and is exact for subnormal codes.
HWY_INLINE VF e4m3_in_top_byte(VU bits, float unit) {
  const auto placed = hn::ShiftRight<4>(hn::BitCast(DI(), bits));
  const auto masked = hn::And(hn::BitCast(DU(), placed), hn::Set(DU(), 0x87f00000u));
  return hn::Mul(hn::BitCast(DF(), masked), hn::Set(DF(), unit * 0x1p120f));
}

HWY_INLINE VF load_e4m3(const uint8_t* codes, float unit) {
  const hn::Rebind<uint8_t, DU> d8;
  return e4m3_in_top_byte(hn::ShiftLeft<24>(hn::PromoteTo(DU(), hn::LoadU(d8, codes))), unit);
}

HWY_INLINE VF load_bf16(const uint16_t* values) {
  const hn::Rebind<uint16_t, DU> d16;
  return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(DU(), hn::LoadU(d16, values))));
}

// A codec expands to value * kUnit, cheap in registers. The products take x / kUnitOfX there, so that the
// sums are of x * value * kUnit / kUnitOfX; where expanded values are kept for many rows, they are divided by
// kUnitOfX instead. All units are powers of two: the sums' bits are the same either way.
struct Bf16Codec {
  static constexpr int kPerWord = 2;
  static constexpr bool kBlockScaled = false;
  static constexpr float kUnit = 1.0f, kUnitOfX = 1.0f;
  template <int kIndex>
  static HWY_INLINE VF expand(VU words) {
    if constexpr (kIndex == 0) {
      return hn::BitCast(DF(), hn::ShiftLeft<16>(words));
    } else {
      return hn::BitCast(DF(), hn::And(words, hn::Set(DU(), 0xffff0000u)));
    }
  }
};

struct Fp8Codec {
  static constexpr int kPerWord = 4;
  static constexpr bool kBlockScaled = false;
  // Sign, exponent and mantissa at fp32's places, the bias left as it is. With x at 2^64 no product of a
  // number above 2^-70 underflows, and none below 2^60 overflows.
  static constexpr float kUnit = 0x1p-120f, kUnitOfX = 0x1p-64f;
  // Two columns at a time become bf16 patterns in the halves of a word: 9 integer operations a word.
  template <int kIndex>
  static HWY_INLINE VF expand(VU words) {
#if HWY_TARGET == HWY_SCALAR
    const auto placed = hn::ShiftRight<4>(hn::BitCast(DI(), hn::ShiftLeft<24 - 8 * kIndex>(words)));
    return hn::BitCast(DF(), hn::And(hn::BitCast(DU(), placed), hn::Set(DU(), 0x87f00000u)));
#else
    const hn::Repartition<int16_t, DU> d16;
    auto halves = hn::BitCast(d16, words);
    if constexpr (kIndex % 2 == 0) halves = hn::ShiftLeft<8>(halves);
    const auto placed = hn::BitCast(DU(), hn::ShiftRight<4>(halves));
    if constexpr (kIndex < 2) {
      const auto masked = hn::And(placed, hn::Set(DU(), 0x87f087f0u));
      return hn::BitCast(DF(), hn::ShiftLeft<16>(masked));
    } else {
      return hn::BitCast(DF(), hn::And(placed, hn::Set(DU(), 0x87f00000u)));
    }
#endif
  }
};

// FP4 codes expand to value * 2^25; block_scale() gives the scale * 2^-25.
struct Nvfp4Codec {
  static constexpr int kPerWord = 8;
  static constexpr bool kBlockScaled = true;
  static constexpr float kUnit = 1.0f, kUnitOfX = 1.0f;  // with block_scale()
  alignas(64) static constexpr float kValues[16] = {
      0.0f,  0x1p24f,  0x1p25f,  0x1.8p25f,  0x1p26f,  0x1.8p26f,  0x1p27f,  0x1.8p27f,
      -0.0f, -0x1p24f, -0x1p25f, -0x1.8p25f, -0x1p26f, -0x1.8p26f, -0x1p27f, -0x1.8p27f};
#if HWY_TARGET <= HWY_AVX3
  // kValues as bf16, twice: the permutation of halves looks at the lowest five bits, of which four are a
  // code.
  alignas(64) static constexpr uint16_t kHalves[32] = {
      0,      0x4b80, 0x4c00, 0x4c40, 0x4c80, 0x4cc0, 0x4d00, 0x4d40,  //
      0x8000, 0xcb80, 0xcc00, 0xcc40, 0xcc80, 0xccc0, 0xcd00, 0xcd40,  //
      0,      0x4b80, 0x4c00, 0x4c40, 0x4c80, 0x4cc0, 0x4d00, 0x4d40,  //
      0x8000, 0xcb80, 0xcc00, 0xcc40, 0xcc80, 0xccc0, 0xcd00, 0xcd40};
#endif
  template <int kIndex>
  static HWY_INLINE VF expand(VU words) {
#if HWY_TARGET <= HWY_AVX3
    // One permutation for two columns, four apart; it and the shift are shared.
    const hn::Repartition<uint16_t, DU> d16;
    auto codes = hn::BitCast(d16, words);
    if constexpr (kIndex % 4 > 0) codes = hn::ShiftRight<4 * (kIndex % 4)>(codes);
    const VU pair{_mm512_permutexvar_epi16(codes.raw, hn::Load(d16, kHalves).raw)};
    if constexpr (kIndex < 4) return hn::BitCast(DF(), hn::ShiftLeft<16>(pair));
    return hn::BitCast(DF(), hn::And(pair, hn::Set(DU(), 0xffff0000u)));
#elif HWY_TARGET == HWY_SCALAR
    return hn::Set(DF(), kValues[(hn::GetLane(words) >> (4 * kIndex)) & 15u]);
#else
    // The code goes to the low half of the top byte, a byte table turns it into 2 * value; the other bytes
    // look up 0.
    alignas(16) static constexpr int8_t kTable[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                                      0, -1, -2, -3, -4, -6, -8, -12};
    if constexpr (kIndex < 6) words = hn::ShiftLeft<24 - 4 * kIndex>(words);
    if constexpr (kIndex == 7) words = hn::ShiftRight<4>(words);
    const hn::Repartition<int8_t, DU> d8;
    const auto index = hn::BitCast(d8, hn::And(words, hn::Set(DU(), 0x0f000000u)));
    return hn::ConvertTo(DF(), hn::BitCast(DI(), hn::TableLookupBytes(hn::LoadDup128(d8, kTable), index)));
#endif
  }

  static HWY_INLINE VF block_scale(const uint8_t* codes) { return load_e4m3(codes, 0x1p-25f); }
};

}  // namespace HWY_NAMESPACE
}  // namespace outrider::cpu
HWY_AFTER_NAMESPACE();

#endif

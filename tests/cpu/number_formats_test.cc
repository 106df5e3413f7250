#include "cpu/number_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace outrider::test {
namespace {

// e4m3 by its definition: sign, 4 exponent bits with bias 7, 3 mantissa bits.
double e4m3_by_definition(int code) {
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa / 8.0, -6) : std::ldexp(1.0 + mantissa / 8.0, exponent - 7);
  return code & 128 ? -magnitude : magnitude;
}

TEST(E4m3, EveryCodeDecodesToItsDefinitionAndEncodesBackToItself) {
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7f) == 0x7f) continue;  // NaN
    const float value = cpu::e4m3_to_float(static_cast<uint8_t>(code));
    EXPECT_EQ(value, e4m3_by_definition(code)) << code;
    EXPECT_EQ(cpu::float_to_e4m3(value), code);
  }
}

TEST(E4m3, MidpointsGoToTheEvenCodeAndNeighboursToTheNearest) {
  for (int code = 0; code < 0x7e; ++code) {
    const double low = e4m3_by_definition(code), high = e4m3_by_definition(code + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    EXPECT_EQ(cpu::float_to_e4m3(middle), code % 2 == 0 ? code : code + 1) << middle;
    EXPECT_EQ(cpu::float_to_e4m3(std::nextafter(middle, 0.0f)), code);
    EXPECT_EQ(cpu::float_to_e4m3(std::nextafter(middle, 1e9f)), code + 1);
  }
}

TEST(E4m3, LargeValuesSaturateAndNanStaysNan) {
  EXPECT_EQ(cpu::float_to_e4m3(1e30f), 0x7e);
  EXPECT_EQ(cpu::float_to_e4m3(-std::numeric_limits<float>::infinity()), 0xfe);
  EXPECT_EQ(cpu::float_to_e4m3(std::nanf("")) & 0x7f, 0x7f);
}

TEST(E2m1, EveryValueRoundsToTheNearestCodeAndTiesToTheEvenOne) {
  for (int code = 0; code < 7; ++code) {
    const float low = cpu::e2m1_to_float(static_cast<uint8_t>(code));
    const float high = cpu::e2m1_to_float(static_cast<uint8_t>(code + 1));
    const float middle = (low + high) / 2;
    EXPECT_EQ(cpu::float_to_e2m1(low), code);
    EXPECT_EQ(cpu::float_to_e2m1(middle), code % 2 == 0 ? code : code + 1) << middle;
    EXPECT_EQ(cpu::float_to_e2m1(std::nextafter(middle, 0.0f)), code);
    EXPECT_EQ(cpu::float_to_e2m1(std::nextafter(-middle, -9.0f)), (code + 1) | 8);
  }
  EXPECT_EQ(cpu::float_to_e2m1(100.0f), 7);
}

TEST(Bf16, RoundsToNearestEvenAndKeepsNanANan) {
  EXPECT_EQ(cpu::float_to_bf16(1.0f), 0x3f80);
  EXPECT_EQ(cpu::float_to_bf16(1.0f + 0x1p-8f), 0x3f80);            // tie, even
  EXPECT_EQ(cpu::float_to_bf16(1.0f + 0x1p-7f + 0x1p-8f), 0x3f82);  // tie, odd below
  EXPECT_EQ(cpu::float_to_bf16(1.0f + 0x1p-8f + 0x1p-20f), 0x3f81);
  EXPECT_TRUE(std::isnan(cpu::bf16_to_float(cpu::float_to_bf16(std::nanf("")))));
}

}  // namespace
}  // namespace outrider::test

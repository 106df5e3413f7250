#include <gtest/gtest.h>

#include <cmath>

#include "cpu/all_targets.h"
#include "cpu/number_formats.h"
#include "cpu/random_matrix.h"
#include "cpu/rms_norm.h"
#include "cpu/rope.h"
#include "cpu/silu.h"
#include "model/rope_frequencies.h"
#include "ops/elementwise_cases.h"

namespace outrider::test {
namespace {

TEST(RmsNorm, AgreesWithDoublePrecisionOnEveryTarget) {
  std::mt19937 random(1);
  for (int n : kRowLengths) {
    const std::vector<float> x = random_floats(n, random), w = random_floats(n, random);
    std::vector<uint16_t> weight(n);
    double squares = 0;
    for (int i = 0; i < n; ++i) {
      weight[i] = cpu::float_to_bf16(w[i]);
      squares += double{x[i]} * x[i];
    }
    for_each_target([&] {
      std::vector<float> y(n);
      cpu::rms_norm(x.data(), weight.data(), n, 1e-5f, y.data());
      for (int i = 0; i < n; ++i) {
        const double expected = x[i] / std::sqrt(squares / n + 1e-5f) * cpu::bf16_to_float(weight[i]);
        // The sum of squares is fp32 in 16 lanes: its own error shrinks with the square root.
        const double bound = (kRmsNormBound + std::sqrt(n / 16.0) * 0x1p-25) * std::fabs(expected);
        ASSERT_NEAR(y[i], expected, bound) << "n " << n << " element " << i;
      }
    });
  }
}

TEST(RmsNorm, AZeroRowStaysZero) {
  const std::vector<float> x(64, 0.0f);
  const std::vector<uint16_t> weight(64, cpu::float_to_bf16(3.0f));
  std::vector<float> y(64, 1.0f);
  cpu::rms_norm(x.data(), weight.data(), 64, 1e-5f, y.data());
  for (float v : y) EXPECT_EQ(v, 0.0f);
}

TEST(Silu, AgreesWithDoublePrecisionOnEveryTargetAlsoWhereTheExponentialOverflows) {
  std::mt19937 random(2);
  for (int n : kRowLengths) {
    std::vector<float> gate = random_floats(n, random), up = random_floats(n, random);
    for (int i = 0; i < n; ++i) gate[i] *= 20.0f;
    gate[0] = -1e4f;
    gate[1] = 1e4f;
    gate[2] = 0.0f;
    gate[3] = -90.0f;
    for_each_target([&] {
      std::vector<float> y(n);
      cpu::silu_mul(gate.data(), up.data(), n, y.data());
      for (int i = 0; i < n; ++i) {
        const double g = gate[i], silu = g / (1.0 + std::exp(-g));
        ASSERT_NEAR(y[i], silu * up[i], kSiluBound * std::fabs(silu * up[i]) + 1e-30) << "gate " << g;
      }
    });
  }
}

model::LlamaConfig scout_rope() {
  model::LlamaConfig config;
  config.head_dim = 128;
  config.rope_theta = 500000.0f;
  config.rope_scaling = {16.0f, 1.0f, 1.0f, 8192};
  return config;
}

TEST(Rope, ScoutsEqualBandLimitsDivideThePairsFrom35OnBy16AndNoOther) {
  const std::vector<float> f = model::rope_frequencies(scout_rope());
  ASSERT_EQ(f.size(), 64u);
  for (int j = 0; j < 64; ++j) {
    const double plain = std::pow(500000.0, -2.0 * j / 128);
    EXPECT_NEAR(f[j] / (j >= 35 ? plain / 16 : plain), 1.0, 1e-6) << "pair " << j;
  }
}

TEST(Rope, TheMiddleBandOfTheFirstReleaseIsInterpolated) {
  model::LlamaConfig config = scout_rope();
  config.rope_scaling = {8.0f, 1.0f, 4.0f, 8192};
  const std::vector<float> f = model::rope_frequencies(config);
  int between = 0;
  for (int j = 0; j < 64; ++j) {
    const double plain = std::pow(500000.0, -2.0 * j / 128), wavelength = 2 * M_PI / plain;
    double expected = plain;
    if (wavelength > 8192.0) {
      expected = plain / 8;
    } else if (wavelength > 8192.0 / 4) {
      const double s = (8192.0 / wavelength - 1.0) / (4.0 - 1.0);
      expected = (1 - s) * plain / 8 + s * plain;
      ++between;
    }
    EXPECT_NEAR(f[j] / expected, 1.0, 1e-5) << "pair " << j;
  }
  EXPECT_GT(between, 3);
}

TEST(Rope, RotatesAdjacentPairsByThePositionsAngle) {
  const std::vector<float> frequencies = {1.0f, 0.01f};
  float angles[4], x[8] = {1, 0, 0, 1, 2, 3, -1, 5};
  const float before[8] = {1, 0, 0, 1, 2, 3, -1, 5};
  cpu::rope_angles(frequencies, 7, angles);
  cpu::rope_rotate(angles, 2, 4, x);
  for (int pair = 0; pair < 4; ++pair) {
    const double a = 7.0 * frequencies[pair % 2];
    EXPECT_NEAR(x[2 * pair], before[2 * pair] * std::cos(a) - before[2 * pair + 1] * std::sin(a), 1e-6);
    EXPECT_NEAR(x[2 * pair + 1], before[2 * pair] * std::sin(a) + before[2 * pair + 1] * std::cos(a), 1e-6);
  }
}

TEST(Rope, TheQkNormMakesEachHeadsMeanSquareOne) {
  std::mt19937 random(3);
  std::vector<float> x = random_floats(3 * 32, random);
  for (int i = 32; i < 64; ++i) x[i] *= 1000.0f;
  cpu::qk_norm(3, 32, 1e-5f, x.data());
  for (int h = 0; h < 3; ++h) {
    double squares = 0;
    for (int i = 0; i < 32; ++i) squares += double{x[h * 32 + i]} * x[h * 32 + i];
    EXPECT_NEAR(squares / 32, 1.0, 1e-4);
  }
}

TEST(AttentionTemperature, RisesAtThePositionBeforeEachMultipleOfTheFloorScale) {
  model::LlamaConfig config;
  config.floor_scale = 8192.0f;
  config.attn_scale = 0.1f;
  EXPECT_EQ(cpu::attention_temperature(config, 0), 1.0f);
  EXPECT_EQ(cpu::attention_temperature(config, 8190), 1.0f);
  EXPECT_FLOAT_EQ(cpu::attention_temperature(config, 8191), 1.0f + 0.1f * std::log(2.0f));
  EXPECT_FLOAT_EQ(cpu::attention_temperature(config, 16382), 1.0f + 0.1f * std::log(2.0f));
  EXPECT_FLOAT_EQ(cpu::attention_temperature(config, 16383), 1.0f + 0.1f * std::log(3.0f));
  config.attn_temperature_tuning = false;
  EXPECT_EQ(cpu::attention_temperature(config, 16383), 1.0f);
}

}  // namespace
}  // namespace outrider::test

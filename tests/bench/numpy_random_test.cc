#include "bench/numpy_random.h"

#include <gmock/gmock.h>

#include <numeric>

#include "cases.h"

namespace outrider::bench {
namespace {

using testing::ElementsAre;

TEST(NumpyRandom, DefaultRngDrawsTheIntegersThatNumpyDraws) {
  const auto cases = read_cases("random.json")["integers"];
  std::unique_ptr<NumpyGenerator> generator;
  uint64_t last_seed = UINT64_MAX;
  for (const auto& [seed, low, high, numbers] :
       cases.get<std::vector<std::tuple<uint64_t, int64_t, int64_t, std::vector<int64_t>>>>()) {
    if (seed != last_seed) generator = std::make_unique<NumpyGenerator>(seed);
    last_seed = seed;
    EXPECT_EQ(generator->integers(low, high, numbers.size()), numbers) << seed << " " << low << " " << high;
  }
}

TEST(NumpyRandom, TheReferencesVectorsComeOut) {
  EXPECT_THAT(NumpyGenerator(0).integers(0, 200000, 6),
              ElementsAre(170124, 127392, 102227, 53957, 61565, 8194));
  NumpyGenerator generator(0);
  EXPECT_THAT(generator.integers(818, 1229, 4), ElementsAre(1167, 1079, 1028, 928));
  EXPECT_THAT(generator.integers(102, 155, 4), ElementsAre(118, 104, 105, 102));
  EXPECT_THAT(generator.integers(0, 200000, 4), ElementsAre(35053, 162654, 129883, 182551));
}

TEST(NumpyRandom, LegacyGammaFollowsNumpyForEveryShape) {
  for (const auto& [seed, shape, numbers] :
       read_cases("random.json")["gamma"]
           .get<std::vector<std::tuple<uint32_t, double, std::vector<double>>>>()) {
    NumpyLegacy random(seed);
    for (const double number : numbers) {
      const double drawn = random.gamma(shape, 0.1);
      EXPECT_NEAR(drawn, number, 1e-12 * number) << seed << " " << shape;
    }
  }
}

TEST(NumpyRandom, LegacyIntegersAndPermutationsFollowNumpy) {
  for (const auto& [seed, numbers] :
       read_cases("random.json")["randint"].get<std::vector<std::tuple<uint32_t, std::vector<int64_t>>>>()) {
    NumpyLegacy random(seed);
    const uint64_t ends[] = {1, 2, 3, 1000, 4064, 200000, uint64_t{1} << 32};
    for (size_t i = 0; i < numbers.size(); ++i)
      EXPECT_EQ(random.integer(ends[i]), numbers[i]) << seed << " " << i;
  }
  for (const auto& [seed, order] : read_cases("random.json")["permutation"]
                                       .get<std::vector<std::tuple<uint32_t, std::vector<int64_t>>>>()) {
    EXPECT_EQ(NumpyLegacy(seed).permutation(order.size()), order) << seed;
  }
}

TEST(NumpyRandom, PythonsShuffleAndChoicesComeOut) {
  const auto cases = read_cases("random.json");
  for (size_t i = 0; i < cases["shuffle"].size(); ++i) {
    const auto order = cases["shuffle"][i][1].get<std::vector<int>>();
    PythonRandom random(cases["shuffle"][i][0].get<uint64_t>());
    std::vector<int> items(order.size());
    std::iota(items.begin(), items.end(), 0);
    random.shuffle(items);
    EXPECT_EQ(items, order);
    for (const size_t choice : cases["choices"][i][1].get<std::vector<size_t>>())
      EXPECT_EQ(random.choice(1000), choice);
  }
}

}  // namespace
}  // namespace outrider::bench

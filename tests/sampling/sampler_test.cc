#include "sampling/sampler.h"

#include <gtest/gtest.h>

#include <random>

#include "sampling/hostile_params.h"
#include "sampling/philox.h"
#include "sampling/reference.h"

namespace outrider::test {
namespace {

using sampling::Sampler;
using sampling::SamplingParams;
using sampling::TokenHistory;

constexpr int kVocab = 60;
constexpr int kDraws = 20000;

std::vector<float> random_logits(int n, uint32_t seed, double spread = 2.0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, static_cast<float>(spread));
  std::vector<float> out(n);
  for (float& x : out) x = normal(random);
  return out;
}

Row to_row(const std::vector<float>& logits) { return Row(logits.begin(), logits.end()); }

// The value that chi-square with `df` degrees of freedom exceeds with probability 1e-4 (Wilson and Hilferty).
double chi_square_limit(int df) {
  const double a = 2.0 / (9.0 * df);
  return df * std::pow(1.0 - a + 3.719 * std::sqrt(a), 3);
}

void expect_follows(const std::vector<int>& counts, const Row& p, int draws) {
  double statistic = 0, rare_expected = 0;
  int cells = 0, rare_seen = 0;
  auto add_cell = [&](double expected, int seen) {
    statistic += (seen - expected) * (seen - expected) / expected;
    ++cells;
  };
  for (size_t t = 0; t < p.size(); ++t) {
    if (p[t] == 0.0) {
      EXPECT_EQ(counts[t], 0) << "token " << t << " is impossible";
    } else if (p[t] * draws < 8) {
      rare_expected += p[t] * draws;
      rare_seen += counts[t];
    } else {
      add_cell(p[t] * draws, counts[t]);
    }
  }
  if (rare_expected > 5) add_cell(rare_expected, rare_seen);
  if (cells < 2) return;
  EXPECT_LT(statistic, chi_square_limit(cells - 1)) << cells << " cells";
}

struct Knobs {
  std::string name;
  SamplingParams params;
  std::vector<int> prompt = {}, output = {};
};
void PrintTo(const Knobs& k, std::ostream* out) { *out << k.name; }

std::vector<Knobs> knob_cases() {
  std::vector<Knobs> cases;
  auto add = [&](const std::string& name, auto set, std::vector<int> prompt = {},
                 std::vector<int> output = {}) {
    Knobs k{name, {}, std::move(prompt), std::move(output)};
    k.params.seed = 77 + cases.size();
    set(k.params);
    cases.push_back(std::move(k));
  };
  add("plain", [](SamplingParams&) {});
  add("cold", [](SamplingParams& p) { p.temperature = 0.4; });
  add("hot", [](SamplingParams& p) { p.temperature = 3.0; });
  add("top_k", [](SamplingParams& p) { p.top_k = 7; });
  add("top_k_one", [](SamplingParams& p) { p.top_k = 1; });
  add("top_k_larger_than_the_vocabulary", [](SamplingParams& p) { p.top_k = 100000; });
  add("top_p", [](SamplingParams& p) { p.top_p = 0.8; });
  add("top_p_tiny", [](SamplingParams& p) { p.top_p = 1e-6; });
  add("min_p", [](SamplingParams& p) { p.min_p = 0.1; });
  add("min_p_one", [](SamplingParams& p) { p.min_p = 1.0; });
  add("logit_bias", [](SamplingParams& p) { p.logit_bias = {{3, 5.0f}, {9, -100.0f}, {40, 2.5f}}; });
  add("allowed", [](SamplingParams& p) { p.allowed_token_ids = {2, 5, 11, 12, 30, 59}; });
  add("repetition", [](SamplingParams& p) { p.repetition_penalty = 1.7; }, {1, 2, 3, 4, 5, 6, 7, 8},
      {9, 9, 10, 3});
  add("repetition_below_one", [](SamplingParams& p) { p.repetition_penalty = 0.6; }, {1, 2, 3},
      {10, 11, 12, 13});
  add("presence", [](SamplingParams& p) { p.presence_penalty = 1.5; }, {1, 2, 3}, {3, 4, 4, 4, 20, 21});
  add("frequency", [](SamplingParams& p) { p.frequency_penalty = 0.7; }, {1, 2, 3}, {3, 4, 4, 4, 20, 21});
  add("negative_penalties",
      [](SamplingParams& p) {
        p.frequency_penalty = -0.5;
        p.presence_penalty = -1.0;
      },
      {1}, {6, 6, 7});
  add("bad_words",
      [](SamplingParams& p) {
        p.bad_words = {{8}, {4, 5, 6}, {9, 6, 7}, {5, 10}, {4, 5, 11}, {1, 2, 3, 4, 5, 12}};
      },
      {}, {4, 5});
  add("min_tokens",
      [](SamplingParams& p) {
        p.min_tokens = 3;
        p.eos_token_ids = {0, 1};
        p.stop_token_ids = {17, 500};
      },
      {}, {4, 5});
  add("min_tokens_reached",
      [](SamplingParams& p) {
        p.min_tokens = 2;
        p.eos_token_ids = {0, 1};
      },
      {}, {4, 5});
  add("temperature_min_p_top_k_top_p", [](SamplingParams& p) {
    p.temperature = 1.6;
    p.min_p = 0.02;
    p.top_k = 20;
    p.top_p = 0.9;
  });
  add("everything",
      [](SamplingParams& p) {
        p.temperature = 0.7;
        p.min_p = 0.01;
        p.top_k = 30;
        p.top_p = 0.95;
        p.repetition_penalty = 1.2;
        p.presence_penalty = 0.3;
        p.frequency_penalty = 0.2;
        p.logit_bias = {{30, 3.0f}, {4, 2.0f}};
        p.bad_words = {{31}};
        p.min_tokens = 10;
        p.eos_token_ids = {33};
      },
      {1, 2, 3, 30}, {4, 5, 4, 30, 6});
  return cases;
}

class Distribution : public testing::TestWithParam<Knobs> {
 protected:
  TokenHistory history() const {
    const std::vector<int32_t> prompt(GetParam().prompt.begin(), GetParam().prompt.end());
    const std::vector<int32_t> output(GetParam().output.begin(), GetParam().output.end());
    return {prompt, output};
  }
};

// One draw for each of many seeds, at the output index that the history implies.
TEST_P(Distribution, DrawsOverSeedsFollowTheExactProbabilities) {
  const std::vector<float> logits = random_logits(kVocab, 5);
  const Row p =
      expected_distribution(to_row(logits), GetParam().params, GetParam().prompt, GetParam().output);
  const TokenHistory seen = history();
  Sampler sampler;
  std::vector<int> counts(kVocab);
  SamplingParams params = GetParam().params;
  for (int i = 0; i < kDraws; ++i) {
    params.seed = GetParam().params.seed * 1000003 + i;
    std::vector<float> row = logits;
    ++counts[sampler.sample(row, params, seen, static_cast<int>(GetParam().output.size())).token];
  }
  expect_follows(counts, p, kDraws);
}

TEST_P(Distribution, GreedyTakesTheBestConstrainedTokenAndIgnoresTopKTopPMinP) {
  for (uint32_t seed = 1; seed < 30; ++seed) {
    std::vector<float> logits = random_logits(kVocab, seed);
    SamplingParams params = GetParam().params;
    params.temperature = 0.0;
    const Row expected = constrained_logits(to_row(logits), params, GetParam().prompt, GetParam().output);
    Sampler sampler;
    const auto token =
        sampler.sample(logits, params, history(), static_cast<int>(GetParam().output.size())).token;
    EXPECT_EQ(token, std::max_element(expected.begin(), expected.end()) - expected.begin());
  }
}

INSTANTIATE_TEST_SUITE_P(Knobs, Distribution, testing::ValuesIn(knob_cases()),
                         [](const auto& info) { return info.param.name; });

TEST(Sampler, TheDrawsOfOneRequestFollowTheProbabilitiesOverItsOutputIndices) {
  const std::vector<float> logits = random_logits(kVocab, 6);
  SamplingParams params;
  params.seed = 42;
  Sampler sampler;
  std::vector<int> counts(kVocab);
  for (int i = 0; i < kDraws; ++i) {
    std::vector<float> row = logits;
    ++counts[sampler.sample(row, params, {}, i).token];
  }
  expect_follows(counts, softmax(to_row(logits)), kDraws);
}

TEST(Sampler, TheSameSeedAndIndexGiveTheSameTokenWhateverWasSampledBefore) {
  SamplingParams params;
  params.top_p = 0.95;
  std::vector<int> first;
  for (int order = 0; order < 2; ++order) {
    Sampler sampler;
    std::vector<int> tokens(200);
    for (int j = 0; j < 200; ++j) {
      const int row = order == 0 ? j : 199 - j;
      params.seed = 1000 + row;
      std::vector<float> logits = random_logits(kVocab, row);
      tokens[row] = sampler.sample(logits, params, {}, row % 7).token;
    }
    if (order == 0) first = tokens;
    EXPECT_EQ(tokens, first);
  }
}

TEST(Sampler, EqualLogitsAreKeptTogetherByTopKAndCutByIdInTopP) {
  const std::vector<float> logits = {1, 2, 2, 2, 0, 2};
  SamplingParams params;
  Sampler sampler;
  auto support = [&] {
    std::set<int> tokens;
    for (int i = 0; i < 2000; ++i) {
      std::vector<float> row = logits;
      tokens.insert(sampler.sample(row, params, {}, i).token);
    }
    return tokens;
  };
  params.top_k = 2;
  EXPECT_EQ(support(), (std::set<int>{1, 2, 3, 5}));
  params.top_k = 0;
  params.top_p = 0.4;  // each of the four has about 0.22
  EXPECT_EQ(support(), (std::set<int>{1, 2}));
}

TEST(Sampler, GreedyTakesTheLowestIdAmongEquals) {
  std::vector<float> logits = {0, 3, 1, 3, 3};
  SamplingParams params;
  params.temperature = 0.0;
  EXPECT_EQ(Sampler().sample(logits, params, {}, 0).token, 1);
}

TEST(Sampler, ATopPCutInAVocabularyOfRealSizeEqualsTheFullSort) {
  constexpr int kLarge = 50000;
  for (double p : {0.05, 0.5, 0.9, 0.999}) {
    const std::vector<float> logits = random_logits(kLarge, 11, 1.0);
    SamplingParams params;
    params.top_p = p;
    params.logprobs = kLarge;
    params.processed_logprobs = true;
    const Row expected = expected_distribution(to_row(logits), params, {}, {});
    std::vector<float> row = logits;
    const auto sample = Sampler().sample(row, params, {}, 0);
    int differences = 0;  // at the edge the sums of 50 000 terms may round apart
    for (const auto& entry : sample.logprobs->top) {
      differences += (expected[entry.token] > 0) != std::isfinite(entry.logprob);
      if (expected[entry.token] > 0 && std::isfinite(entry.logprob)) {
        EXPECT_NEAR(entry.logprob, std::log(expected[entry.token]), 1e-4);
      }
    }
    EXPECT_LE(differences, 1) << p;
  }
}

TEST(Logprobs, AreOfTheRawDistributionByDefaultAndOfTheProcessedOneOnRequest) {
  const std::vector<float> logits = random_logits(kVocab, 12);
  SamplingParams params;
  params.temperature = 0.5;
  params.logit_bias = {{7, 4.0f}};
  params.logprobs = 5;
  params.seed = 3;
  const Row raw = softmax(to_row(logits)), processed = expected_distribution(to_row(logits), params, {}, {});
  for (bool want_processed : {false, true}) {
    params.processed_logprobs = want_processed;
    const Row& p = want_processed ? processed : raw;
    std::vector<float> row = logits;
    const auto sample = Sampler().sample(row, params, {}, 0);
    ASSERT_TRUE(sample.logprobs);
    EXPECT_EQ(sample.logprobs->chosen.token, sample.token);
    EXPECT_NEAR(sample.logprobs->chosen.logprob, std::log(p[sample.token]), 1e-5);
    const std::vector<int> order = ranking(p);
    EXPECT_EQ(order[sample.logprobs->chosen.rank - 1], sample.token);
    ASSERT_EQ(sample.logprobs->top.size(), 5u);
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(sample.logprobs->top[i].token, order[i]);
      EXPECT_EQ(sample.logprobs->top[i].rank, i + 1);
      EXPECT_NEAR(sample.logprobs->top[i].logprob, std::log(p[order[i]]), 1e-5);
    }
  }
}

TEST(Logprobs, AsLogitsAreTheNumbersThemselvesAndTheRankCountsLargerOnesOnly) {
  const std::vector<float> logits = {1, 5, 3, 5, 2};
  const auto third = sampling::logprobs_of(logits, 2, 10, true);
  EXPECT_EQ(third.chosen.logprob, 3.0f);
  EXPECT_EQ(third.chosen.rank, 3);
  ASSERT_EQ(third.top.size(), 5u);
  EXPECT_EQ(third.top[0].token, 1);
  EXPECT_EQ(third.top[1].token, 3);
  EXPECT_EQ(third.top[4].token, 0);
  EXPECT_EQ(sampling::logprobs_of(logits, 3, 0, false).chosen.rank, 1);
  EXPECT_TRUE(sampling::logprobs_of(logits, 3, 0, false).top.empty());
}

TEST(BrokenLogits, NanCountsAsImpossibleAndInfinityAsCertain) {
  const float nan = std::nanf(""), inf = std::numeric_limits<float>::infinity();
  SamplingParams params;
  params.logprobs = 2;
  for (double temperature : {0.0, 1.0, 0.01, 100.0}) {
    params.temperature = temperature;
    std::vector<float> a = {nan, -inf, 1.0f, nan};
    const auto only = Sampler().sample(a, params, {}, 0);
    EXPECT_EQ(only.token, 2);
    EXPECT_EQ(only.logprobs->chosen.logprob, 0.0f);
    std::vector<float> b = {0.0f, inf, nan};
    EXPECT_EQ(Sampler().sample(b, params, {}, 0).token, 1);
  }
}

TEST(BrokenLogits, ARowWithNothingLeftGivesToken0WithLogprobMinusInfinity) {
  const float nan = std::nanf(""), inf = std::numeric_limits<float>::infinity();
  for (double temperature : {0.0, 1.0}) {
    SamplingParams params;
    params.temperature = temperature;
    params.logprobs = 3;
    params.top_k = 2;
    params.top_p = 0.5;
    params.min_p = 0.5;
    for (bool processed : {false, true}) {
      params.processed_logprobs = processed;
      std::vector<float> row = {nan, -inf, nan};
      const auto sample = Sampler().sample(row, params, {}, 0);
      EXPECT_EQ(sample.token, 0);
      EXPECT_EQ(sample.logprobs->chosen.logprob, -inf);
    }
  }
}

TEST(BrokenLogits, AnyMixtureOfHostileValuesAndParametersYieldsATokenOfTheVocabulary) {
  std::mt19937 random(99);
  const float specials[] = {std::nanf(""),
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(),
                            3e38f,
                            -3e38f,
                            1e-45f,
                            0.0f};
  Sampler sampler;
  for (int round = 0; round < 5000; ++round) {
    const int n = 1 + static_cast<int>(random() % 20);
    std::vector<float> row(n);
    for (float& x : row) x = random() % 2 ? specials[random() % 7] : static_cast<float>(random() % 100) - 50;
    const SamplingParams params = hostile_params(random, 30);
    const std::vector<int32_t> seen = {0, 1, 1, 7, 100, -3};
    const auto sample = sampler.sample(row, params, TokenHistory(seen, seen), 0);
    ASSERT_GE(sample.token, 0);
    ASSERT_LT(sample.token, n);
    ASSERT_FALSE(std::isnan(sample.logprobs->chosen.logprob));
    ASSERT_LE(sample.logprobs->top.size(), static_cast<size_t>(n));
  }
}

// Known answers of the generator's authors (Random123, kat_vectors, philox4x32 10 rounds).
TEST(Philox, MeetsThePublishedTestVectors) {
  using sampling::philox4x32;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

}  // namespace
}  // namespace outrider::test

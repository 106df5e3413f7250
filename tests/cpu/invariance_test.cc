// A sequence's logits have the same bits however its prefill is cut, whatever runs beside it and on however
// many threads.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "cpu/all_targets.h"
#include "cpu/tiny_model.h"

namespace outrider::test {
namespace {

constexpr int kLength = 70;  // chunks of 32: positions 31/32 and 63/64 are edges
constexpr int kSequences = 3;

std::vector<int32_t> random_ids(int n, std::mt19937& random) {
  std::vector<int32_t> ids(n);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % 1000);
  return ids;
}

// Runs all sequences at once, each cut at random, in random company; logits [sequence][position][vocab].
std::vector<std::vector<float>> run_mixed(TinyModel& model,
                                          const std::vector<std::vector<int32_t>>& sequences,
                                          std::mt19937& random) {
  const size_t vocab = model.config().vocab_size;
  std::vector<size_t> done(sequences.size(), 0);
  std::vector<std::vector<float>> logits(sequences.size());
  for (;;) {
    std::vector<Piece> pieces;
    for (size_t s = 0; s < sequences.size(); ++s) {
      const size_t left = sequences[s].size() - done[s];
      if (left == 0 || random() % 3 == 0) continue;
      const size_t count = std::min<size_t>(left, random() % 2 ? 1 : 1 + random() % 40);
      pieces.push_back(
          {static_cast<int>(s), static_cast<int>(done[s]), {sequences[s].data() + done[s], count}});
    }
    if (pieces.empty()) {
      bool all = true;
      for (size_t s = 0; s < sequences.size(); ++s) all &= done[s] == sequences[s].size();
      if (all) return logits;
      continue;
    }
    const std::vector<float> out = model.run(pieces);
    size_t row = 0;
    for (const Piece& piece : pieces) {
      logits[piece.sequence].insert(logits[piece.sequence].end(), out.begin() + row * vocab,
                                    out.begin() + (row + piece.tokens.size()) * vocab);
      row += piece.tokens.size();
      done[piece.sequence] += piece.tokens.size();
    }
  }
}

void check(const std::string& form, const TinyOptions& base, int rounds) {
  const auto weights = load_tiny(form);
  std::mt19937 random(7);
  std::vector<std::vector<int32_t>> sequences;
  for (int s = 0; s < kSequences; ++s) sequences.push_back(random_ids(kLength - 13 * s, random));

  TinyModel alone(weights, base);
  std::vector<std::vector<float>> expected;
  for (int s = 0; s < kSequences; ++s) expected.push_back(alone.run({{s, 0, sequences[s]}}));

  for (int threads : {1, 2}) {
    TinyOptions options = base;
    options.threads = threads;
    TinyModel mixed(weights, options);
    for (int round = 0; round < rounds; ++round) {
      const auto logits = run_mixed(mixed, sequences, random);
      for (int s = 0; s < kSequences; ++s) {
        ASSERT_EQ(logits[s].size(), expected[s].size());
        ASSERT_EQ(std::memcmp(logits[s].data(), expected[s].data(), expected[s].size() * 4), 0)
            << form << " sequence " << s << " threads " << threads << " round " << round;
      }
    }
  }
}

TEST(Invariance, LogitsKeepTheirBitsForBf16WeightsWithBf16Cache) {
  TinyOptions options;
  options.kv_dtype = model::KvDtype::kBf16;
  for_each_target([&] { check("tiny-a-bf16", options, 1); });
}

TEST(Invariance, LogitsKeepTheirBitsForFp8WeightsWithFp8CacheAndPagesLargerThanAChunk) {
  TinyOptions options;
  options.kv_dtype = model::KvDtype::kFp8E4m3;
  options.block_size = 64;
  check("tiny-a-fp8", options, 3);
}

TEST(Invariance, LogitsKeepTheirBitsForNvfp4WeightsWithFp32CacheAndSmallPages) {
  TinyOptions options;
  options.block_size = 8;
  for_each_target([&] { check("tiny-a-nvfp4", options, 1); });
}

TEST(Invariance, LogitsKeepTheirBitsForQuantizedActivations) {
  TinyOptions options;
  options.quantization = cpu::ActivationQuantization::kCheckpoint;
  check("tiny-a-fp8", options, 1);
  check("tiny-a-nvfp4", options, 1);
}

}  // namespace
}  // namespace outrider::test

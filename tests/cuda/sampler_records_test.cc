// The sampler's parts that need no device.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "cuda/sampler.h"
#include "sampling/sampler.h"

namespace outrider::cuda {
namespace {

const SamplerShape kShape = {
    .max_slots = 8, .max_rows = 16, .vocab = 1000, .valid_vocab = 990, .max_model_len = 5000};

struct Record {
  BindRecord head;
  std::vector<int32_t> words, long_lists;
};

Record record_of(const sampling::SamplingParams& params, std::vector<int32_t> prompt = {},
                 std::vector<int32_t> output = {}) {
  const runner::SlotBinding binding{3, std::make_shared<sampling::SamplingParams>(params), prompt, output};
  std::vector<uint64_t> bytes;
  Record out;
  make_bind_record(binding, kShape, bytes, out.long_lists);
  std::memcpy(static_cast<void*>(&out.head), bytes.data(), sizeof(out.head));
  out.words.resize((bytes.size() * 8 - sizeof(out.head)) / 4);
  std::memcpy(out.words.data(), bytes.data() + sizeof(out.head) / 8, out.words.size() * 4);
  return out;
}

TEST(BindRecord, holds_the_lists_without_unknown_ids_and_no_id_twice) {
  sampling::SamplingParams p;
  p.logit_bias = {{5, 1.0f}, {2000, 1.0f}, {5, 0.5f}, {-1, 2.0f}, {7, -3.0f}};
  p.min_tokens = 2;
  p.eos_token_ids = {9, 4};
  p.stop_token_ids = {9, 1000, 3};
  p.bad_words = {{}, {1, 2}, {8, 5000}, {6}};
  const Record r = record_of(p);
  EXPECT_EQ(r.head.slot, 3);
  ASSERT_EQ(r.head.params.num_biases, 2);
  ASSERT_EQ(r.head.params.num_stop_ids, 3);
  ASSERT_EQ(r.head.params.num_bad_words, 2);
  ASSERT_EQ(r.head.num_list_words, 2 + 2 + 3 + 3 + 3);
  float first = 0;
  std::memcpy(&first, &r.words[2], 4);
  EXPECT_EQ(first, 1.5f);
  EXPECT_EQ(std::vector<int32_t>(r.words.begin(), r.words.begin() + 2), (std::vector<int32_t>{5, 7}));
  EXPECT_EQ(std::vector<int32_t>(r.words.begin() + 4, r.words.begin() + 13),
            (std::vector<int32_t>{3, 4, 9, 0, 2, 3, 1, 2, 6}));
}

TEST(BindRecord, counts_each_token_of_the_history_once_and_large_counts_apart) {
  sampling::SamplingParams p;
  p.presence_penalty = 0.5;
  std::vector<int32_t> output(200, 11);
  output.insert(output.end(), {5, 5, 6, 5000, -1});
  output.insert(output.end(), 126, 12);
  const Record r = record_of(p, {5, 7, 7, 1000}, output);
  ASSERT_EQ(r.head.num_counts, 5);
  ASSERT_EQ(r.head.num_overflows, 1);
  const int at = r.head.num_list_words;
  std::map<int, int> codes;
  for (int i = 0; i < 5; ++i)
    codes[r.words[at + i] & 0xffffff] = static_cast<uint32_t>(r.words[at + i]) >> 24;
  EXPECT_EQ(codes,
            (std::map<int, int>{{5, kInPrompt | 2}, {6, 1}, {7, kInPrompt}, {11, kCountEscape}, {12, 126}}));
  EXPECT_EQ(r.words[at + 5], 11);
  EXPECT_EQ(r.words[at + 6], 200);
  EXPECT_EQ(r.head.num_outputs, static_cast<int>(output.size()));
  EXPECT_EQ(std::vector<int32_t>(r.words.begin() + at + 7, r.words.begin() + at + 7 + r.head.num_outputs),
            output);
}

TEST(BindRecord, without_penalties_has_no_counts_and_keeps_the_latest_outputs_only) {
  std::vector<int32_t> output(kRecentTokens + 5);
  for (size_t i = 0; i < output.size(); ++i) output[i] = static_cast<int32_t>(i);
  const Record r = record_of({}, {1, 2, 3}, output);
  EXPECT_EQ(r.head.num_counts, 0);
  EXPECT_EQ(r.head.num_outputs, kRecentTokens + 5);
  EXPECT_EQ(r.words[r.head.num_list_words], 5);
  EXPECT_LE(static_cast<int>(r.words.size()), r.head.num_list_words + kRecentTokens + 1);
}

TEST(BindRecord, lists_that_do_not_fit_in_a_slot_travel_apart) {
  sampling::SamplingParams p;
  for (int id = 0; id < 500; ++id) p.logit_bias.emplace_back(id, 1.0f);
  p.allowed_token_ids = {0, 33, 999, 1000, -4};
  const Record r = record_of(p);
  EXPECT_EQ(r.head.num_list_words, 0);
  EXPECT_EQ(r.long_lists.size(), 1001u);
  EXPECT_TRUE(r.head.params.flags & kAllowedOnly);
  EXPECT_EQ(r.words[0], 1);
  EXPECT_EQ(r.words[1], 2);
  EXPECT_EQ(static_cast<uint32_t>(r.words[31]), 1u << (999 % 32));
}

TEST(SamplerMemory, is_a_formula_of_the_shape) {
  int64_t bytes = 0;
  for (const model::PlanRow& row : Sampler::memory(
           {.max_slots = 512, .max_rows = 512, .vocab = 202048, .valid_vocab = 0, .max_model_len = 131072})) {
    bytes += row.bytes;
  }
  EXPECT_GT(bytes, int64_t{512} * 202048);
  EXPECT_LT(bytes, int64_t{130} << 20);
}

TEST(Logprobs, from_the_devices_sums_equal_those_of_the_cpu) {
  std::vector<float> logits = {0.5f, -2.0f, 3.0f, 3.0f, -INFINITY, 1.25f};
  RowResult row{.token = 5, .rank = 3, .value = 1.25f, .max = 3.0f};
  for (float x : logits)
    row.total += static_cast<uint64_t>(std::llround(std::exp(double{x} - 3.0) * kWeightOne));
  const std::vector<TopEntry> top = {{4, -INFINITY}, {0, 0.5f}, {3, 3.0f}, {1, -2.0f}, {5, 1.25f}, {2, 3.0f}};
  for (bool as_logits : {false, true}) {
    const auto got = make_logprobs(row, top, as_logits);
    const auto wanted = sampling::logprobs_of(logits, 5, 6, as_logits);
    EXPECT_EQ(got.chosen.rank, wanted.chosen.rank);
    EXPECT_NEAR(got.chosen.logprob, wanted.chosen.logprob, 1e-6);
    ASSERT_EQ(got.top.size(), wanted.top.size());
    for (size_t i = 0; i < got.top.size(); ++i) {
      EXPECT_EQ(got.top[i].token, wanted.top[i].token);
      EXPECT_EQ(got.top[i].rank, wanted.top[i].rank);
      if (std::isinf(wanted.top[i].logprob)) {
        EXPECT_EQ(got.top[i].logprob, wanted.top[i].logprob);
      } else {
        EXPECT_NEAR(got.top[i].logprob, wanted.top[i].logprob, 1e-6);
      }
    }
  }
}

}  // namespace
}  // namespace outrider::cuda

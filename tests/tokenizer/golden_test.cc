// Against Hugging Face tokenizers, whose answers are in tests/fixtures/tokenizer (made by tests/tools).
#include <gtest/gtest.h>

#include "tokenizer/cases.h"

namespace outrider::tokenizer {
namespace {

void expect_equal_to_hugging_face(const Tokenizer& tokenizer, const std::string& file, size_t at_least) {
  const auto cases = read_lines(fixture(file));
  ASSERT_GE(cases.size(), at_least);
  for (const auto& c : cases) {
    const auto text = c["text"].get<std::string>();
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.encode(text, false), ids) << text;
    EXPECT_EQ(tokenizer.encode(text, true), c["ids_special"].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(tokenizer.decode(ids, false), c["decoded"].get<std::string>());
    EXPECT_EQ(tokenizer.decode(ids, true), c["decoded_skip_special"].get<std::string>());
  }
}

TEST(Golden, PocketScoutsTokenizerIsEqualToHuggingFace) {
  expect_equal_to_hugging_face(*pocket(), "pocket_cases.jsonl", 300);
}

TEST(Golden, OverlappingSpacedAndSecondPassAddedTokensAreEqualToHuggingFace) {
  expect_equal_to_hugging_face(*odd(), "odd_cases.jsonl", 300);
}

TEST(Golden, Llama4sTokenizerIsEqualToHuggingFace) {
  if (!llama4()) GTEST_SKIP() << kNoLlama4;
  expect_equal_to_hugging_face(*llama4(), "tokenizer_cases.jsonl", 400);
}

TEST(Golden, Llama4sTokensAreWhereItsFormatSays) {
  if (!llama4()) GTEST_SKIP() << kNoLlama4;
  EXPECT_EQ(llama4()->size(), 201134);
  EXPECT_EQ(llama4()->bos_id(), 200000);
  EXPECT_EQ(llama4()->eos_id(), 200008);
  EXPECT_EQ(llama4()->token_id("<|patch|>"), 200092);
  EXPECT_EQ(llama4()->token_string(200007), "<|eom|>");
  EXPECT_FALSE(llama4()->has_token(201134));
}

TEST(Golden, Llama4IdsDetokenizeAsHuggingFaceDoesAtEachLength) {
  if (!llama4()) GTEST_SKIP() << kNoLlama4;
  const auto cases = read_lines(fixture("detok_cases.jsonl"));
  ASSERT_GE(cases.size(), 120u);
  for (const auto& c : cases) {
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(llama4()->decode(ids, false), c["decoded"].get<std::string>());
    EXPECT_EQ(llama4()->decode(ids, true), c["decoded_skip_special"].get<std::string>());
    for (size_t n = 0; n < c["prefix_decoded"].size(); ++n) {
      const auto prefix = c["prefix_decoded"][n].get<std::string>();
      EXPECT_EQ(llama4()->decode(std::span(ids).first(n + 1), false), prefix);
      IncrementalDetokenizer incremental(llama4(), false);
      std::string text;
      for (size_t i = 0; i <= n; ++i) text += incremental.push(ids[i]);
      EXPECT_EQ(text + incremental.flush(), prefix);
    }
  }
}

TEST(Golden, PocketScoutNamesItsTokens) {
  const auto& t = *pocket();
  const int32_t bos = t.token_id("<|begin_of_text|>");
  EXPECT_EQ(t.bos_id(), bos);
  EXPECT_EQ(t.eos_id(), t.token_id("<|eot|>"));
  EXPECT_TRUE(t.is_special(bos));
  EXPECT_EQ(t.token_string(bos), "<|begin_of_text|>");
  EXPECT_EQ(t.token_bytes(bos), "<|begin_of_text|>");
  const int32_t the = t.encode(" the", false).at(0);
  EXPECT_EQ(t.token_string(the), "Ġthe");
  EXPECT_EQ(t.token_id("Ġthe"), the);
  EXPECT_EQ(t.token_bytes(the), " the");
  EXPECT_FALSE(t.is_special(the));
  EXPECT_EQ(t.token_id(" the"), -1);
  EXPECT_EQ(t.token_id(""), -1);
}

TEST(Golden, EveryTokenIsFoundByItsOwnSpelling) {
  for (const auto& t : {pocket(), odd()}) {
    for (int32_t id = 0; id < t->size(); ++id) {
      if (!t->has_token(id)) continue;
      EXPECT_EQ(t->token_id(t->token_string(id)), id) << t->token_string(id);
    }
  }
}

TEST(Golden, IdsWithoutATokenGiveNothing) {
  const int32_t past = pocket()->size();
  for (const int32_t id : {-1, past, INT32_MAX, INT32_MIN}) {
    EXPECT_FALSE(pocket()->has_token(id));
    EXPECT_FALSE(pocket()->is_special(id));
    EXPECT_EQ(pocket()->token_bytes(id), "");
    EXPECT_EQ(pocket()->token_string(id), "");
    EXPECT_EQ(pocket()->decode(std::vector<int32_t>{id}, false), "");
  }
}

}  // namespace
}  // namespace outrider::tokenizer

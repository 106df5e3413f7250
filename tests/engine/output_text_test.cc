#include "engine/output_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <sstream>

namespace outrider::engine {
namespace {

using tokenizer::Tokenizer;

// A byte-level vocabulary: every byte is a token, so that texts can be cut anywhere, also inside characters.
std::shared_ptr<const Tokenizer> bytes_tokenizer() {
  static const std::shared_ptr<const Tokenizer> loaded = [] {
    std::ifstream file(std::string(OUTRIDER_SOURCE_DIR) + "/tests/fixtures/tokenizer/odd.json");
    std::stringstream text;
    text << file.rdbuf();
    return Tokenizer::parse(text.str(), "odd.json");
  }();
  return loaded;
}

int32_t byte_token(char byte) {
  static const std::vector<int32_t> table = [] {
    std::vector<int32_t> ids(256, -1);
    for (int32_t id = 0; id < bytes_tokenizer()->size(); ++id) {
      std::string_view bytes = bytes_tokenizer()->token_bytes(id);
      if (bytes.size() == 1 && !bytes_tokenizer()->is_special(id)) ids[uint8_t(bytes[0])] = id;
    }
    return ids;
  }();
  return table[uint8_t(byte)];
}

std::vector<int32_t> byte_ids(std::string_view text) {
  std::vector<int32_t> ids;
  for (char c : text) ids.push_back(byte_token(c));
  return ids;
}

struct Pushed {
  std::string text;
  std::optional<std::string> stopped;
};

Pushed push_all(std::string_view text, TextOptions options) {
  OutputText output(bytes_tokenizer(), std::move(options));
  std::string returned;
  for (int32_t id : byte_ids(text)) returned += output.push({&id, 1});
  returned += output.finish();
  EXPECT_EQ(returned, output.text());
  return {returned, output.stopped()};
}

TEST(OutputText, TextWithoutStopStringsPassesAtOnce) {
  OutputText output(bytes_tokenizer(), {});
  EXPECT_EQ(output.push(byte_ids("ab")), "ab");
  EXPECT_EQ(output.finish(), "");
  EXPECT_FALSE(output.stopped());
}

TEST(OutputText, HoldsBackOnlyWhatMayBecomeAStopString) {
  OutputText output(bytes_tokenizer(), {.stop = {"</end>"}});
  EXPECT_EQ(output.push(byte_ids("x <")), "x ");
  EXPECT_EQ(output.push(byte_ids("/en")), "");
  EXPECT_EQ(output.push(byte_ids("e")), "</ene");
  EXPECT_EQ(output.push(byte_ids("<")), "");
  EXPECT_EQ(output.finish(), "<");
  EXPECT_EQ(output.text(), "x </ene<");
}

TEST(OutputText, CutsBeforeTheStopStringAndIgnoresWhatFollows) {
  Pushed pushed = push_all("one\n\ntwo", {.stop = {"\n\n"}});
  EXPECT_EQ(pushed.text, "one");
  EXPECT_EQ(pushed.stopped, "\n\n");
  EXPECT_EQ(push_all("one\n\ntwo", {.stop = {"\n\n"}, .include_stop_str_in_output = true}).text, "one\n\n");
}

TEST(OutputText, TheStopStringThatIsCompleteFirstWins) {
  EXPECT_EQ(push_all("xabcd", {.stop = {"abcd", "bc"}}).stopped, "bc");
  EXPECT_EQ(push_all("xabcd", {.stop = {"bc", "abc"}}).stopped, "abc");
}

TEST(OutputText, FindsStopStringsThatOverlapThemselves) {
  EXPECT_EQ(push_all("aabaabaac", {.stop = {"aabaac"}}).text, "aab");
  EXPECT_EQ(push_all("aaaab", {.stop = {"aab"}}).text, "aa");
}

TEST(OutputText, StopStringsMayBeginAndEndInsideTokensOfMultiByteCharacters) {
  Pushed pushed = push_all("größe 漢字!", {.stop = {"漢字"}});
  EXPECT_EQ(pushed.text, "größe ");
  EXPECT_EQ(push_all("größe 漢", {.stop = {"漢字"}}).text, "größe 漢");
}

TEST(OutputText, AStopStringMustEndAfterMinTokens) {
  EXPECT_EQ(push_all("a.b.c.", {.stop = {"."}, .min_tokens = 2}).text, "a.b");
  EXPECT_EQ(push_all("a.b.c.", {.stop = {".b"}, .min_tokens = 2}).text, "a");
  EXPECT_FALSE(push_all("a.", {.stop = {"."}, .min_tokens = 2}).stopped);
}

TEST(OutputText, EmptyStopStringsAreIgnored) { EXPECT_EQ(push_all("ab", {.stop = {""}}).text, "ab"); }

// The text of each prefix of `ids` that is certain, and what the whole decodes to.
struct NaiveText {
  std::vector<size_t> certain;  // [ids + 1] bytes of `whole`
  std::string whole;
};

NaiveText decode_naively(const std::vector<int32_t>& ids, bool skip_special) {
  NaiveText text;
  tokenizer::IncrementalDetokenizer detokenizer(bytes_tokenizer(), skip_special);
  text.certain.push_back(0);
  for (int32_t id : ids) {
    text.whole += detokenizer.push(id);
    text.certain.push_back(text.whole.size());
  }
  text.whole = bytes_tokenizer()->decode(ids, skip_special);
  return text;
}

// End of the first complete stop string that ends beyond `after`, and the longest one that ends there.
std::optional<std::pair<size_t, std::string>> find_naively(const NaiveText& text, const TextOptions& options,
                                                           size_t after) {
  for (size_t end = after + 1; end <= text.whole.size(); ++end) {
    std::string longest;
    for (const std::string& stop : options.stop) {
      bool ends_here = stop.size() <= end && text.whole.compare(end - stop.size(), stop.size(), stop) == 0;
      if (ends_here && stop.size() > longest.size()) longest = stop;
    }
    if (!longest.empty()) return std::pair{end, longest};
  }
  return std::nullopt;
}

size_t held_naively(std::string_view text, const std::vector<std::string>& stops) {
  size_t held = 0;
  for (const std::string& stop : stops) {
    for (size_t n = 1; n < stop.size(); ++n) {
      if (text.ends_with(std::string_view(stop).substr(0, n))) held = std::max(held, n);
    }
  }
  return held;
}

TEST(OutputText, AnyTextCutAnywhereEqualsTheNaiveSearch) {
  std::mt19937_64 random(7);
  auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  const std::vector<std::string> pieces = {"a", "b", "ab", "aab", "é", "漢", "<", "\n"};
  std::vector<int32_t> piece_ids = byte_ids("aaabbb\xC3\xA9\xC3\xA9\xE6\xBC\xA2\xE6\xBC\xA2<\n");
  piece_ids.push_back(bytes_tokenizer()->token_id("<a>"));
  piece_ids.push_back(bytes_tokenizer()->token_id("漢"));
  int stopped = 0, held_back = 0;
  for (int round = 0; round < 30'000; ++round) {
    TextOptions options;
    for (int i = pick(0, 3); i > 0; --i) {
      std::string stop;
      for (int n = pick(1, 4); n > 0; --n) stop += pieces[pick(0, int(pieces.size()) - 1)];
      options.stop.push_back(stop);
    }
    options.include_stop_str_in_output = pick(0, 1);
    options.skip_special_tokens = pick(0, 1);
    options.min_tokens = pick(0, 3) == 0 ? pick(0, 12) : 0;
    std::vector<int32_t> ids(pick(0, 24));
    // Whole pieces half of the time, single bytes (broken characters too) the other half.
    for (size_t i = 0; i < ids.size();) {
      std::vector<int32_t> next = {piece_ids[pick(0, int(piece_ids.size()) - 1)]};
      if (pick(0, 1)) next = byte_ids(pieces[pick(0, int(pieces.size()) - 1)]);
      for (int32_t id : next) {
        if (i < ids.size()) ids[i++] = id;
      }
    }

    NaiveText naive = decode_naively(ids, options.skip_special_tokens);
    auto num_min = size_t(options.min_tokens);
    auto found = ids.size() > num_min ? find_naively(naive, options, naive.certain[num_min]) : std::nullopt;
    std::string expected = naive.whole;
    if (found) {
      expected.resize(found->first - (options.include_stop_str_in_output ? 0 : found->second.size()));
    }

    OutputText output(bytes_tokenizer(), options);
    std::string returned;
    for (size_t at = 0; at < ids.size();) {
      size_t count = std::min<size_t>(pick(1, 5), ids.size() - at);
      returned += output.push(std::span(ids).subspan(at, count));
      at += count;
      if (output.stopped()) break;
      std::string_view so_far = std::string_view(naive.whole).substr(0, naive.certain[at]);
      size_t held = held_naively(so_far, options.stop);
      held_back += held > 0;
      ASSERT_EQ(returned, so_far.substr(0, so_far.size() - held));
    }
    returned += output.finish();
    ASSERT_EQ(returned, expected) << "round " << round;
    ASSERT_EQ(returned, output.text());
    ASSERT_EQ(output.stopped(), found ? std::optional(found->second) : std::nullopt);
    if (found) {
      ASSERT_EQ(output.push(byte_ids("a")), "") << "text after the stop string";
    }
    stopped += found.has_value();
  }
  EXPECT_GT(stopped, 5'000);
  EXPECT_GT(held_back, 5'000);
}

}  // namespace
}  // namespace outrider::engine

#include <gtest/gtest.h>

#include <random>

#include "base/utf8.h"
#include "tokenizer/cases.h"

namespace outrider::tokenizer {
namespace {

// A decoder written from the definition alone: try every length, longest first.
std::string lossy_by_definition(const std::string& bytes) {
  const auto valid = [](const std::string& s) {  // one whole character?
    const auto at = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
    const uint32_t lengths[] = {1, 2, 3, 4};
    uint32_t code = 0;
    for (const uint32_t length : lengths) {
      if (s.size() != length) continue;
      const uint8_t lead_mask = length == 1 ? 0x80 : static_cast<uint8_t>(0xFF << (7 - length));
      const uint8_t lead_bits = length == 1 ? 0x00 : static_cast<uint8_t>(0xFF << (8 - length));
      if ((at(0) & lead_mask) != lead_bits) return false;
      code = at(0) & ~lead_mask;
      for (size_t i = 1; i < length; ++i) {
        if ((at(i) & 0xC0) != 0x80) return false;
        code = code << 6 | (at(i) & 0x3F);
      }
      const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
      return code >= least[length - 1] && code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF);
    }
    return false;
  };
  const auto beginning = [&](const std::string& s) {  // can more bytes make it a character?
    for (const uint8_t fill : {0x80, 0x90, 0xA0, 0xBF}) {
      for (std::string t = s; t.size() < 4;) {
        t.push_back(static_cast<char>(fill));
        if (valid(t)) return true;
        for (std::string u = t; u.size() < 4;) {
          u.push_back(static_cast<char>(0x80));
          if (valid(u)) return true;
        }
      }
    }
    return false;
  };
  std::string out;
  for (size_t i = 0; i < bytes.size();) {
    size_t taken = 0;
    for (size_t n = 1; n <= 4 && i + n <= bytes.size(); ++n) {
      if (valid(bytes.substr(i, n))) taken = n;
    }
    if (taken > 0) {
      out += bytes.substr(i, taken);
    } else {
      for (taken = 1; taken < 3 && i + taken < bytes.size() && beginning(bytes.substr(i, taken + 1));)
        ++taken;
      out += "\xEF\xBF\xBD";
    }
    i += taken;
  }
  return out;
}

std::string random_bytes(std::mt19937& rng, size_t most) {
  // Bytes at the edges of what UTF-8 allows come often.
  static const std::string edges =
      "\x7F\x80\x8F\x90\x9F\xA0\xBF\xC0\xC1\xC2\xDF\xE0\xE1\xEC\xED\xEE\xEF\xF0\xF1\xF3\xF4\xF5\xFF a";
  std::string bytes(rng() % (most + 1), '\0');
  for (char& c : bytes) c = rng() % 4 ? edges[rng() % edges.size()] : static_cast<char>(rng());
  return bytes;
}

std::string random_text(std::mt19937& rng, size_t most) {
  std::string text;
  for (size_t n = rng() % (most + 1); n > 0; --n) {
    const uint32_t limits[] = {0x80, 0x80, 0x300, 0x3000, 0x10000, 0x110000};
    append_utf8(text, rng() % limits[rng() % 6]);
  }
  return text;
}

TEST(Property, BrokenUtf8IsRepairedByTheDefinition) {
  std::mt19937 rng(1);
  for (int i = 0; i < 20000; ++i) {
    const std::string bytes = random_bytes(rng, 9);
    const std::string repaired = to_valid_utf8(bytes);
    EXPECT_EQ(repaired, lossy_by_definition(bytes));
    EXPECT_EQ(is_valid_utf8(bytes), repaired == bytes);
  }
}

TEST(Property, AnyTextComesBackFromItsTokens) {
  std::mt19937 rng(2);
  for (const auto& t : {pocket(), odd(), llama4()}) {
    for (int i = 0; t && i < 4000; ++i) {
      const std::string text = random_text(rng, 60);
      EXPECT_EQ(t->decode(t->encode(text, false), false), text);
    }
  }
}

TEST(Property, BrokenTextIsEncodedAsItsRepairedForm) {
  std::mt19937 rng(3);
  for (int i = 0; i < 4000; ++i) {
    const std::string bytes = random_bytes(rng, 30);
    EXPECT_EQ(pocket()->encode(bytes, false), pocket()->encode(to_valid_utf8(bytes), false));
  }
}

TEST(Property, IncrementalTextIsWholeCharactersAndEqualToDecode) {
  std::mt19937 rng(4);
  for (const auto& t : {pocket(), odd(), llama4()}) {
    for (int i = 0; t && i < 4000; ++i) {
      std::vector<int32_t> ids(rng() % 24);
      // Single bytes come often: they make broken and split characters.
      for (int32_t& id : ids) id = static_cast<int32_t>(rng() % (rng() % 3 ? 256 : t->size() + 2));
      const bool skip = rng() % 2;
      IncrementalDetokenizer incremental(t, skip);
      std::string text;
      for (const int32_t id : ids) {
        const std::string piece = incremental.push(id);
        EXPECT_TRUE(is_valid_utf8(piece));
        text += piece;
      }
      const std::string rest = incremental.flush();
      EXPECT_TRUE(rest.empty() || rest == kReplacementCharacter);
      EXPECT_EQ(text + rest, t->decode(ids, skip));
    }
  }
}

TEST(Property, ALongRunOfOneCharacterTakesTimeInProportion) {
  // A quadratic merge of 1 MB would take many minutes.
  for (const auto& t : {pocket(), odd(), llama4()}) {
    for (const std::string unit : {"a", "A", " ", "!", "\n", "漢", "<|", "<|begin_of_text|", "'s"}) {
      if (!t) continue;
      std::string text;
      while (text.size() < 1'000'000) text += unit;
      const std::clock_t start = std::clock();  // of this process: other load must not count
      const auto ids = t->encode(text, false);
      EXPECT_LT((std::clock() - start) / CLOCKS_PER_SEC, 20) << unit;
      EXPECT_EQ(t->decode(ids, false), text) << unit;
    }
  }
}

TEST(Property, LongAndShortPiecesMergeAlike) {
  // Around the length where the algorithm changes, a piece's merges must not depend on which one ran: random
  // letters are merged here by the definition, lowest rank first and leftmost of equals.
  std::mt19937 rng(5);
  const auto& t = *odd();
  const std::vector<std::pair<std::string, std::string>> merges = {{"a", "b"},  {"b", "c"},   {"ab", "c"},
                                                                   {"a", "bc"}, {" ", "a"},   {" a", "b"},
                                                                   {"a", "a"},  {"aa", "aa"}, {"o", "r"}};
  for (int i = 0; i < 3000; ++i) {
    std::string text(40 + rng() % 20, 'a');
    for (char& c : text) c = "aaabbcor"[rng() % 8];
    std::vector<std::string> parts;
    for (const char c : text) parts.emplace_back(1, c);
    for (bool joined = true; joined;) {
      joined = false;
      for (const auto& [left, right] : merges) {
        for (size_t at = 0; !joined && at + 1 < parts.size(); ++at) {
          if (parts[at] != left || parts[at + 1] != right) continue;
          parts[at] += right;
          parts.erase(parts.begin() + static_cast<ptrdiff_t>(at) + 1);
          joined = true;
        }
        if (joined) break;
      }
    }
    std::vector<std::string> got;
    for (const int32_t id : t.encode(text, false)) got.emplace_back(t.token_bytes(id));
    EXPECT_EQ(got, parts) << text;
  }
}

}  // namespace
}  // namespace outrider::tokenizer

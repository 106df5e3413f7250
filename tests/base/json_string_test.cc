#include "base/json_string.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

std::string ascii(std::string_view text) {
  std::string out;
  append_json_string(out, text, /*ensure_ascii=*/true);
  return out;
}

TEST(JsonString, EscapesControlsAndKeepsUnicode) {
  EXPECT_EQ(json_string("a\"b\\c\n\t\b\f\r\x01\x7F"), "\"a\\\"b\\\\c\\n\\t\\b\\f\\r\\u0001\x7F\"");
  EXPECT_EQ(json_string("é😀"), "\"é😀\"");
  EXPECT_EQ(json_string(std::string("\0", 1)), "\"\\u0000\"");
}

TEST(JsonString, WritesWhatIsNotAsciiInUtf16WhenAsked) {
  EXPECT_EQ(ascii("a\x7F\xC3\xA9\xF0\x9F\x98\x80z"), "\"a\\u007f\\u00e9\\ud83d\\ude00z\"");
}

TEST(JsonString, ReplacesEachMaximalInvalidPart) {
  EXPECT_EQ(json_string("a\xFF"
                        "b\xE2\x82"),
            "\"a\uFFFD"
            "b\uFFFD\"");
  EXPECT_EQ(ascii("\xED\xA0\x80"), "\"\\ufffd\\ufffd\\ufffd\"");
}

}  // namespace
}  // namespace outrider

#include "server/json_text.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace outrider::server {
namespace {

std::string error_of(const std::string& body, int depth = 64) {
  try {
    parse_body(body, depth);
  } catch (const RequestError& error) {
    EXPECT_EQ(error.status(), 400);
    EXPECT_EQ(error.type(), "Bad Request");
    return error.what();
  }
  return "no error";
}

// What CPython's json.loads says of each text.
TEST(JsonText, faults_are_placed_and_named_as_python_does) {
  const struct {
    const char* text;
    const char* message;
    size_t offset;
  } cases[] = {
      {R"({"model": "m",})", "Expecting property name enclosed in double quotes", 14},
      {R"({"a" 1})", "Expecting ':' delimiter", 5},
      {R"({"a": 1 "b": 2})", "Expecting ',' delimiter", 8},
      {R"([1 2])", "Expecting ',' delimiter", 3},
      {R"({"a": })", "Expecting value", 6},
      {R"({"a": tru})", "Expecting value", 6},
      {R"({"a": 01})", "Expecting ',' delimiter", 7},
      {R"({"a": -})", "Expecting value", 6},
      {R"({"a": 1.})", "Expecting ',' delimiter", 7},
      {R"({"a": "x)", "Unterminated string starting at", 6},
      {R"({"a": 1} x)", "Extra data", 9},
      {R"({"a": "\x"})", "Invalid \\escape: ", 7},
      {R"({"a": "\u12"})", "Invalid \\uXXXX escape", 8},
      {"{\"a\": \"\n\"}", "Invalid control character at", 7},
      {"", "Expecting value", 0},
      {"{", "Expecting property name enclosed in double quotes", 1},
  };
  for (const auto& c : cases) {
    const JsonFault fault = find_json_fault(c.text);
    EXPECT_EQ(fault.message, c.message) << c.text;
    EXPECT_EQ(fault.offset, c.offset) << c.text;
  }
}

TEST(ParseBody, errors_have_vllms_form) {
  EXPECT_EQ(error_of(R"({"model": "m",})"),
            "[{'type': 'json_invalid', 'loc': ('body', 14), 'msg': 'JSON decode error', 'input': {}, 'ctx': "
            "{'error': "
            "'Expecting property name enclosed in double quotes'}}]");
  EXPECT_EQ(error_of(""), "[{'type': 'missing', 'loc': ('body',), 'msg': 'Field required', 'input': None}]");
  EXPECT_NE(error_of("[1]").find("dict"), std::string::npos);
  EXPECT_NE(error_of("{\"prompt\": \"\xFF\xFE\"}").find("UTF-8"), std::string::npos);
  EXPECT_NE(error_of(R"({"a": "\ud800"})"), "no error") << "a lone surrogate is no text";
  EXPECT_NE(error_of(R"({"a": 1e999})"), "no error");
}

TEST(ParseBody, offsets_count_characters_not_bytes) {
  EXPECT_NE(error_of("{\"é\": x}").find("('body', 6)"), std::string::npos);
}

TEST(ParseBody, ten_megabytes_nested_ten_thousand_deep_are_refused) {
  std::string body = R"({"prompt": )" + std::string(10000, '[') + std::string(10'000'000, ' ') +
                     std::string(10000, ']') + "}";
  EXPECT_NE(error_of(body).find("levels deep"), std::string::npos);
  EXPECT_EQ(error_of(R"({"a": [[1]]})", 3), "no error");
  EXPECT_NE(error_of(R"({"a": [[1]]})", 2), "no error");
  EXPECT_EQ(error_of(R"({"a": "[[[[[[[[\"[[["})", 2), "no error") << "brackets in strings do not nest";
}

TEST(ParseBody, every_truncation_and_every_changed_byte_of_a_body_is_survived) {
  const std::string body =
      R"({"model":"m","prompt":["aé","\u00e9"],"n":1.5e3,"stop":null,"x":{"y":[true,false]}})";
  for (size_t i = 0; i < body.size(); ++i) {
    EXPECT_NE(error_of(body.substr(0, i)), "no error");
    for (const char c : {'\0', '"', '{', ']', '\\', '\xC3', '9'}) {
      std::string changed = body;
      changed[i] = c;
      error_of(changed);
    }
  }
}

}  // namespace
}  // namespace outrider::server

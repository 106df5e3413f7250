#include "base/python_repr.h"

#include <gtest/gtest.h>

#include "base/utf8.h"

namespace outrider {
namespace {

using Json = nlohmann::ordered_json;

TEST(PythonRepr, QuotesAsPythonDoes) {
  EXPECT_EQ(python_repr(Json::parse(R"({"a": [1, 2.0, null, true], "b": "it's"})")),
            R"({'a': [1, 2.0, None, True], 'b': "it's"})");
  EXPECT_EQ(python_repr(Json("'\"")), R"('\'"')");
  EXPECT_EQ(python_string("a\\\n\x01\x7F\xC2\xA0é\xE2\x80\x8B"), R"('a\\\n\x01\x7f\xa0é\u200b')");
}

TEST(PythonRepr, IsCutAtWholeCharacters) {
  EXPECT_EQ(python_repr(Json(std::string(100, 'x')), 10), "'xxxxxxxxx...");
  EXPECT_TRUE(is_valid_utf8(python_repr(Json("äöüäöüäöü"), 8)));
}

TEST(PythonRepr, ReplacesWhatIsNotUtf8) { EXPECT_EQ(python_string("m\xFF"), "'m\uFFFD'"); }

}  // namespace
}  // namespace outrider

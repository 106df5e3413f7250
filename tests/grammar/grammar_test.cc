// Grammars over a small vocabulary: every byte, some longer tokens, a special one, an end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <random>

#include "grammar/compiler.h"

namespace outrider::grammar {
namespace {

using sampling::GrammarSpec;
using Kind = GrammarSpec::Kind;
using testing::HasSubstr;

constexpr int kLonger = 256, kSpecial = 300, kEnd = 301, kRow = 330;

const std::vector<std::string>& longer_tokens() {
  static const std::vector<std::string> tokens = {
      "{\"", "\":", "\",", "name",     "ame",      " \"", "tru", "rue", "12",  "345",  "-1",
      ".5",  "}]",  "]}",  "\xe4\xb8", "\xad\xe6", "é",   "yes", "no",  " no", "\n  ", "null"};
  return tokens;
}

Vocabulary vocabulary() {
  Vocabulary result{.tokens = {}, .size = kRow, .end_ids = {kEnd}};
  for (int byte = 0; byte < 256; ++byte) result.tokens.emplace_back(1, static_cast<char>(byte));
  for (const std::string& token : longer_tokens()) result.tokens.push_back(token);
  result.tokens.resize(kEnd + 1);
  return result;
}

struct Compiled {
  std::shared_ptr<const sampling::Grammar> grammar;
  std::string error;
  int status = 200;
};

Compiled compile(sampling::GrammarCompiler& compiler, Kind kind, const std::string& text,
                 bool any_whitespace = true) {
  std::promise<Compiled> done;
  compiler.compile({kind, text, "the_field", any_whitespace}, [&](auto grammar, const auto& error) {
    done.set_value({std::move(grammar), error ? error->what() : "", error ? error->status() : 200});
  });
  return done.get_future().get();
}

class GrammarTest : public testing::Test {
 protected:
  std::shared_ptr<const sampling::Grammar> grammar(Kind kind, const std::string& text) {
    Compiled compiled = compile(*compiler_, kind, text);
    EXPECT_EQ(compiled.error, "") << text;
    return compiled.grammar;
  }
  std::string error_of(Kind kind, const std::string& text) {
    Compiled compiled = compile(*compiler_, kind, text);
    EXPECT_EQ(compiled.grammar, nullptr) << text;
    EXPECT_EQ(compiled.status, 400);
    return compiled.error;
  }

  std::unique_ptr<sampling::GrammarCompiler> compiler_ = make_compiler(vocabulary);
};

bool is_set(const std::vector<uint32_t>& mask, int id) { return (mask[id / 32] >> (id % 32) & 1) != 0; }

std::vector<uint32_t> mask_of(const sampling::Grammar& grammar, sampling::GrammarMatcher& matcher,
                              bool may_end = true) {
  std::vector<uint32_t> mask(grammar.mask_words(), 0xaaaaaaaau);
  matcher.fill(mask, may_end);
  return mask;
}

// Byte by byte; the empty pointer where it does not match so far.
std::unique_ptr<sampling::GrammarMatcher> follow(const sampling::Grammar& grammar, std::string_view text) {
  auto matcher = grammar.start();
  for (const char c : text) {
    const int id = static_cast<unsigned char>(c);
    if (!is_set(mask_of(grammar, *matcher), id)) return nullptr;
    matcher->accept(id);
  }
  return matcher;
}

bool matches(const std::shared_ptr<const sampling::Grammar>& grammar, std::string_view text) {
  const auto matcher = follow(*grammar, text);
  if (!matcher) return false;
  EXPECT_EQ(matcher->complete(), is_set(mask_of(*grammar, *matcher), kEnd)) << text;
  EXPECT_FALSE(is_set(mask_of(*grammar, *matcher, /*may_end=*/false), kEnd));
  return matcher->complete();
}

struct Case {
  std::string text;
  std::vector<std::string> good, bad;
};

TEST_F(GrammarTest, SchemasAdmitWhatTheyDescribeAndNothingElse) {
  const Case cases[] = {
      {R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name","age"]})",
       {R"({"name":"a","age":1})", R"({"name": "Zoë 中 \n \u00e9", "age": -30})",
        "{\n  \"name\": \"\",\n  \"age\": 0\n}"},
       {R"({"name":"a"})", R"({"age":1,"name":"a"})", R"({"name":1,"age":1})", R"({"name":"a","age":1.5})",
        R"({"name":"a","age":01})", R"({"name":"a","age":1,"x":2})", "{\"name\":\"\n\",\"age\":1}", "[]",
        ""}},
      {R"({"type":"object","properties":{"a":{"type":"boolean"},"b":{"type":"null"}}})",
       {"{}", R"({"a":true})", R"({"b":null})", R"({"a":false,"b":null})"},
       {R"({"a":"true"})", R"({"a":true,})", R"({"c":1})"}},
      {R"({"type":"array","items":{"type":"number"},"minItems":1,"maxItems":3})",
       {"[1]", "[1.5,-2e10]", "[0, 1,\n2]"},
       {"[]", "[1,2,3,4]", "[01]", "[1,]", "[.5]", "[\"1\"]"}},
      {R"({"enum":["red",5,null,{"a":[1]}]})", {R"("red")", "5", "null"}, {R"("blue")", "6", "red"}},
      {R"({"const":"x\"y"})", {R"("x\"y")"}, {R"("xy")"}},
      {R"({"type":"string","minLength":2,"maxLength":3})",
       {R"("ab")", R"("é中a")"},
       {R"("a")", R"("abcd")", "\"a\t\"", "\"a\n\"", "\"\x01\x01\""}},
      {R"({"type":"string","pattern":"^é[α-γ].{2}$"})",
       {R"("éβ中x")"},
       {R"("éβx")", R"("éa中x")", R"("éβ"x")", R"("éβ\\x")"}},
      {R"({"type":"string","pattern":"^[A-Z]{2}-[0-9]+$"})",
       {R"("AB-12")"},
       {R"("A-1")", R"("AB-")", R"("AB-1x")"}},
      {R"({"type":"string","format":"date"})", {R"("2026-02-28")"}, {R"("2026-13-01")", R"("today")"}},
      {R"({"type":"integer","minimum":-5,"exclusiveMaximum":120})",
       {"-5", "0", "119"},
       {"-6", "120", "1000", "1.0"}},
      {R"({"anyOf":[{"type":"string"},{"type":"null"}]})", {"null", R"("a")"}, {"1", "true"}},
      {R"({"type":["integer","null"]})", {"null", "7"}, {R"("7")"}},
      {R"({"type":"object","anyOf":[{"properties":{"a":{"const":1}},"required":["a"]},{"properties":{"b":{}},"required":["b"]}]})",
       {R"({"a":1})", R"({"b":[true]})"},
       {"{}", R"({"a":2})", "1"}},
      {R"({"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},
         {"type":"null"}]}},"required":["v","next"]}},"$ref":"#/$defs/node"})",
       {R"({"v":1,"next":{"v":2,"next":null}})"},
       {R"({"v":1,"next":{"v":2}})", R"({"v":1})"}},
      {R"({"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":false})",
       {R"(["a",1])"},
       {R"([1,"a"])"}},
      {R"({"type":"object","additionalProperties":{"type":"integer"}})",
       {"{}", R"({"x":1,"y":2})"},
       {R"({"x":"1"})"}},
      {R"({"type":"object"})", {"{}"}, {"[]", "1"}},
      {"{}", {"1", "[]", R"({"a":[{"b":null}]})", R"("x")", "true"}, {"nul", "{a:1}", "[1 2]"}},
  };
  for (const Case& c : cases) {
    const auto compiled = grammar(Kind::kJsonSchema, c.text);
    ASSERT_TRUE(compiled);
    for (const std::string& text : c.good) EXPECT_TRUE(matches(compiled, text)) << c.text << "\n  " << text;
    for (const std::string& text : c.bad) EXPECT_FALSE(matches(compiled, text)) << c.text << "\n  " << text;
  }
}

TEST_F(GrammarTest, RegexesGrammarsAndChoicesMatchAsAWhole) {
  const std::pair<Kind, Case> cases[] = {
      {Kind::kRegex, {"[a-c]+\\d{2,3}", {"a12", "abc123"}, {"a1", "12", "d12", "a1234", "a12 "}}},
      {Kind::kRegex,
       {"(25[0-5]|1?\\d?\\d)(\\.(25[0-5]|1?\\d?\\d)){3}",
        {"127.0.0.1", "255.255.1.19"},
        {"256.1.1.1", "1.1.1"}}},
      {Kind::kRegex, {"(é|中)*!", {"!", "é中é!"}, {"e!", "é"}}},
      {Kind::kChoice,
       {R"(["yes","no","a \"b\"\\\n中"])", {"yes", "no", "a \"b\"\\\n中"}, {"ye", "noo", "Yes", ""}}},
      {Kind::kEbnf,
       {"root ::= term (\"+\" term)*\nterm ::= [0-9]+ | \"(\" root \")\"",
        {"1", "1+(2+33)"},
        {"1+", "(1", "+"}}},
      {Kind::kEbnf, {"start: \"a\" b*\nb: \"x\" | \"y\"", {"a", "axy"}, {"x", "ab"}}},
      {Kind::kStructuralTag,
       {R"({"type":"structural_tag","format":{"type":"triggered_tags","triggers":["<f"],"tags":[{"begin":"<f>","content":
           {"type":"json_schema","json_schema":{"type":"integer"}},"end":"</f>"}]}})",
        {"free text", "so <f>12</f> it is"},
        {"<f>x</f>", "<f>1"}}},
  };
  for (const auto& [kind, c] : cases) {
    const auto compiled = grammar(kind, c.text);
    ASSERT_TRUE(compiled);
    for (const std::string& text : c.good) EXPECT_TRUE(matches(compiled, text)) << c.text << "\n  " << text;
    for (const std::string& text : c.bad) EXPECT_FALSE(matches(compiled, text)) << c.text << "\n  " << text;
  }
}

// A token is allowed exactly when its bytes are, one after the other.
TEST_F(GrammarTest, AMaskAllowsALongTokenWhereItsBytesAreAllowed) {
  const auto compiled = grammar(
      Kind::kJsonSchema,
      R"({"type":"object","properties":{"name":{"type":"string"},"n":{"type":"array","items":{"type":"number"}}},
          "required":["name","n"]})");
  ASSERT_TRUE(compiled);
  const Vocabulary words = vocabulary();
  std::mt19937 random(1);
  int allowed_long = 0;
  for (int output = 0; output < 6; ++output) {
    std::string text;
    for (int step = 0; step < 25; ++step) {
      const auto matcher = follow(*compiled, text);
      ASSERT_TRUE(matcher);
      const std::vector<uint32_t> mask = mask_of(*compiled, *matcher);
      std::vector<int> candidates;
      for (int id = 0; id < kRow; ++id) {
        const bool is_text = id < static_cast<int>(words.tokens.size()) && !words.tokens[id].empty();
        if (!is_text) {
          EXPECT_EQ(is_set(mask, id), id == kEnd && matcher->complete()) << id;
          continue;
        }
        if (id >= kLonger) {
          EXPECT_EQ(is_set(mask, id), follow(*compiled, text + words.tokens[id]) != nullptr)
              << text << words.tokens[id];
          allowed_long += is_set(mask, id);
        }
        if (is_set(mask, id)) candidates.push_back(id);
      }
      if (candidates.empty()) break;
      text += words.tokens[candidates[random() % candidates.size()]];
    }
  }
  EXPECT_GT(allowed_long, 20);
}

TEST_F(GrammarTest, WithoutFreeWhiteSpaceThereIsOneWayToWriteAnObject) {
  Compiled compiled = compile(
      *compiler_, Kind::kJsonSchema,
      R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2}},"required":["a","b"]})", false);
  ASSERT_TRUE(compiled.grammar) << compiled.error;
  EXPECT_TRUE(matches(compiled.grammar, R"({"a": 1, "b": 2})"));
  EXPECT_FALSE(matches(compiled.grammar, R"({"a":1,"b":2})"));
  EXPECT_FALSE(matches(compiled.grammar, R"({ "a": 1, "b": 2})"));
}

TEST_F(GrammarTest, WhatCannotBeFollowedInFullIsRefusedWithALineThatNamesIt) {
  const std::tuple<Kind, std::string, std::string> cases[] = {
      {Kind::kJsonSchema, "{", "is not valid JSON"},
      {Kind::kJsonSchema, R"({"type":5})", "Type should be a string"},
      {Kind::kJsonSchema, R"({"type":"strin"})", "Unsupported type"},
      {Kind::kJsonSchema, R"({"not":{"type":"string"}})", "the keyword `not` is not supported"},
      {Kind::kJsonSchema, R"({"type":"array","items":{"if":{}}})", "the keyword `if` is not supported"},
      {Kind::kJsonSchema, R"({"type":"array","uniqueItems":true})", "`uniqueItems`"},
      {Kind::kJsonSchema, R"({"type":"number","multipleOf":0.1})", "multipleOf"},
      {Kind::kJsonSchema, R"({"type":"string","pattern":"(?=a)b"})", "Lookahead"},
      {Kind::kJsonSchema, R"({"type":"string","pattern":"a","maxLength":3})", "pattern combined with"},
      {Kind::kJsonSchema, R"({"type":"object","patternProperties":{"a":{}}})",
       "`patternProperties` is not supported"},
      {Kind::kJsonSchema, R"({"minLength":3})", "`minLength` needs a `type` beside it"},
      {Kind::kJsonSchema, R"({"$ref":"#/$defs/a","minLength":3,"$defs":{"a":{"type":"string"}}})",
       "`minLength` beside `$ref` is not supported"},
      {Kind::kJsonSchema, R"({"type":"string","enum":["a",1]})", "not of the `type` beside it"},
      {Kind::kJsonSchema, R"({"type":"object","properties":{"a":{}},"required":["b"]})",
       "which `properties` lacks"},
      {Kind::kJsonSchema, R"({"allOf":[{"type":"string"},{"type":"integer"}]})", "allOf"},
      {Kind::kJsonSchema, R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "oneOf"},
      {Kind::kJsonSchema, R"({"$ref":"#/$defs/missing"})", "missing"},
      {Kind::kJsonSchema, R"({"$ref":"#"})", "no text matches"},
      {Kind::kJsonSchema, R"({"type":"integer","minimum":5,"maximum":4})", "minimum"},
      {Kind::kJsonSchema, "false", "cannot accept any value"},
      {Kind::kRegex, "(a", "parenthesis"},
      {Kind::kRegex, "(?=a)b", "Lookahead"},
      {Kind::kRegex, "(a)\\1", "Backreference"},
      {Kind::kRegex, "\xff", "UTF-8"},
      {Kind::kEbnf, "root ::= missing", "\"missing\" is not defined"},
      {Kind::kEbnf, "rule ::= \"a\"", "root"},
      {Kind::kEbnf, "root ::= root", "no text matches"},
      {Kind::kStructuralTag, R"({"type":"structural_tag","format":{"type":"nonsense"}})", "nonsense"},
      {Kind::kRegex, std::string(200'000, 'a'), "is longer than 131072 bytes"},
  };
  for (const auto& [kind, text, line] : cases) {
    const std::string error = error_of(kind, text);
    EXPECT_THAT(error, testing::StartsWith("`the_field`: ")) << text.substr(0, 100);
    EXPECT_THAT(error, HasSubstr(line)) << text.substr(0, 100);
    EXPECT_EQ(error.find('\n'), std::string::npos);
  }
}

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

TEST_F(GrammarTest, HostileTextsComeToAnEndAndLeaveTheCompilerAtWork) {
  const std::pair<Kind, std::string> texts[] = {
      {Kind::kRegex, repeated("(", 20'000) + repeated(")", 20'000)},
      {Kind::kRegex, "(((a{1,1000}){1,1000}){1,1000})"},
      {Kind::kRegex, "(a{1000}b){1000}"},
      {Kind::kRegex, "((a|b)*a(a|b){30})*"},
      {Kind::kEbnf, "root ::= " + repeated("(", 20'000) + "\"a\"" + repeated(")", 20'000)},
      {Kind::kEbnf, "root ::= root root root | \"a\" | \"\""},
      {Kind::kEbnf, "root ::= [a-z]{1000000}"},
      {Kind::kJsonSchema, repeated(R"({"type":"array","items":)", 3'000) + "{}" + repeated("}", 3'000)},
      {Kind::kJsonSchema, repeated(R"({"anyOf":[{},)", 60) + "{}" + repeated("]}", 60)},
      {Kind::kJsonSchema, R"({"type":"string","maxLength":1000000000})"},
      {Kind::kJsonSchema, R"({"type":"array","items":{"type":"array","minItems":100000},"minItems":100000})"},
      {Kind::kJsonSchema,
       R"({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"})"},
  };
  Limits limits;
  limits.compile_time = std::chrono::seconds(2);
  compiler_ = make_compiler(vocabulary, limits);
  for (const auto& [kind, text] : texts) {
    const Compiled compiled = compile(*compiler_, kind, text);
    if (!compiled.grammar) continue;  // refused: fine as well
    const auto matcher = compiled.grammar->start();
    std::mt19937 random(2);
    try {
      for (int step = 0; step < 40; ++step) {
        const std::vector<uint32_t> mask = mask_of(*compiled.grammar, *matcher);
        std::vector<int> ids;
        for (int id = 0; id < kEnd; ++id) {
          if (is_set(mask, id)) ids.push_back(id);
        }
        if (ids.empty()) break;
        matcher->accept(ids[random() % ids.size()]);
      }
    } catch (const std::runtime_error& error) {
      EXPECT_THAT(error.what(), HasSubstr("too much time"));
    }
  }
  EXPECT_TRUE(matches(grammar(Kind::kRegex, "ok"), "ok"));
}

TEST_F(GrammarTest, ACompilationThatTakesTooLongIsGivenUp) {
  std::string schema = R"({"type":"object","properties":{)";
  for (int i = 0; i < 1000; ++i) {
    schema += (i > 0 ? "," : "") + ("\"property" + std::to_string(i)) + R"(":{"type":"string"})";
  }
  schema += "}}";
  Limits limits;
  limits.compile_time = std::chrono::milliseconds(20);
  compiler_ = make_compiler(vocabulary, limits);
  EXPECT_THAT(error_of(Kind::kJsonSchema, schema), HasSubstr("takes too long to compile"));
}

TEST_F(GrammarTest, AMatcherThatCostsTooMuchTimeSaysSo) {
  Limits limits;
  limits.base_time = limits.token_time = std::chrono::microseconds(0);
  compiler_ = make_compiler(vocabulary, limits);
  Compiled compiled = compile(*compiler_, Kind::kRegex, "a+");
  EXPECT_THAT(compiled.error, HasSubstr("too much time"));  // seen when its first mask is made
}

TEST_F(GrammarTest, ManyThreadsCompileAndFollowAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 20; ++i) {
        const std::string word = "w" + std::to_string((t + i) % 7);
        Compiled compiled = compile(*compiler_, Kind::kChoice, "[\"" + word + "\",\"other\"]");
        ASSERT_TRUE(compiled.grammar) << compiled.error;
        EXPECT_TRUE(matches(compiled.grammar, word));
        EXPECT_FALSE(matches(compiled.grammar, "w9"));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(GrammarTest, WhatWaitsIsAnsweredWhenTheCompilerEndsAndTooManyAreTurnedAway) {
  Limits limits;
  limits.threads = 0;
  limits.queue = 2;
  compiler_ = make_compiler(vocabulary, limits);
  std::vector<int> statuses;
  for (int i = 0; i < 3; ++i) {
    compiler_->compile({Kind::kRegex, "a", "the_field"},
                       [&](auto, const auto& error) { statuses.push_back(error ? error->status() : 200); });
  }
  EXPECT_EQ(statuses, std::vector<int>{503});
  compiler_.reset();
  EXPECT_EQ(statuses, std::vector<int>({503, 503, 503}));
}

}  // namespace
}  // namespace outrider::grammar

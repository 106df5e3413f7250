#include "chat/jinja_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "chat/cases.h"

namespace outrider::chat::jinja {
namespace {

using ::testing::HasSubstr;

std::string file_text(const std::string& path) {
  std::ifstream file(std::string(OUTRIDER_SOURCE_DIR) + "/" + path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string rendered(const std::string& source, const Json& variables = Json::object()) {
  return Template(source).render(variables);
}

std::string refusal(const std::string& source, const Json& variables = Json::object()) {
  try {
    return "rendered: " + rendered(source, variables).substr(0, 200);
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Jinja, IsEqualToJinja2OnShapesOfPopularTemplatesAndOnRandomOnes) {
  auto cases = read_cases("chat/jinja_cases.jsonl");
  ASSERT_GT(cases.size(), 1000u);
  const Json sets = cases.front();
  cases.erase(cases.begin());
  int errors = 0;
  for (const Json& c : cases) {
    const std::string source = c["template"];
    const Json& variables = sets[c["variables"].get<std::string>()];
    if (c.contains("output")) {
      try {
        EXPECT_EQ(rendered(source, variables), c["output"].get<std::string>()) << source;
      } catch (const Error& error) {
        ADD_FAILURE() << error.what() << " in:\n" << source << "\nnot: " << c["output"];
      }
    } else {
      ++errors;
      EXPECT_THROW(rendered(source, variables), Error) << source << "\n" << c["error"];
    }
  }
  EXPECT_GT(errors, 30);
}

Json variables_of(const Json& c) {
  Json variables = {
      {"messages", c["messages"]}, {"tools", c.value("tools", Json())}, {"bos_token", "<|begin_of_text|>"}};
  variables["add_generation_prompt"] = c["add_generation_prompt"];
  if (c.contains("tools_in_user_message")) variables["tools_in_user_message"] = c["tools_in_user_message"];
  return variables;
}

TEST(Jinja, RendersTheOfficialLlama4TemplateAsJinja2DoesOnRandomChats) {
  const Template official(file_text("tests/fixtures/chat/llama4_official.jinja"));
  const auto cases = read_cases("chat/render_cases.jsonl");
  ASSERT_GE(cases.size(), 150u);
  for (const Json& c : cases) EXPECT_EQ(official.render(variables_of(c)), c["rendered"].get<std::string>());
}

TEST(Jinja, RendersTheOfficialLlama4TemplateAsTransformersDoesOnTheFixtures) {
  const Template official(file_text("tests/fixtures/chat/llama4_official.jinja"));
  for (const Json& c : read_cases("tokenizer/chat_cases.jsonl")) {
    Json variables = variables_of(c);
    variables.update(c.value("template_kwargs", Json::object()));
    EXPECT_EQ(official.render(variables), c["rendered"].get<std::string>()) << c["name"];
  }
}

TEST(Jinja, RendersPocketScoutsOwnTemplateAsTheOfficialOne) {
  const Template own(file_text("models/pocket-scout/fp8/chat_template.jinja"));
  for (const Json& c : read_cases("chat/render_cases.jsonl")) {
    EXPECT_EQ(own.render(variables_of(c)), c["rendered"].get<std::string>());
  }
}

TEST(Jinja, NamesTheLineOfASyntaxError) {
  EXPECT_EQ(refusal("a\nb\n{% if x %}\n{{ 1 + }}"), "template line 4: expected an expression, found '}}'");
  EXPECT_EQ(refusal("{% for x in y %}"),
            "template line 1: expected {% endfor %}, found the end of the template");
  EXPECT_EQ(refusal("{{ x | nope }}"), "template line 1: there is no filter 'nope'");
  EXPECT_EQ(refusal("{% include 'x' %}"), "template line 1: the statement 'include' is not known here");
}

TEST(Jinja, PassesTheTextOfRaiseExceptionOn) {
  EXPECT_EQ(refusal("{{ raise_exception('Roles must alternate.') }}"), "Roles must alternate.");
  EXPECT_EQ(refusal("{{ x.y }}"), "'x' is undefined");
  EXPECT_EQ(refusal("{{ x.y.z }}", {{"x", {{"a", 1}}}}), "'dict object' has no attribute 'y'");
}

TEST(Jinja, ChangesNothingThatItWasGiven) {
  EXPECT_THAT(refusal("{% set x = messages.append(1) %}", {{"messages", Json::array()}}),
              HasSubstr("is unsafe"));
}

TEST(Jinja, EndsTemplatesThatWouldRunForever) {
  EXPECT_THAT(refusal("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"),
              HasSubstr("too much work"));
  EXPECT_THAT(refusal("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), HasSubstr("too deep"));
  EXPECT_THAT(refusal("{{ range(1000000000) }}"), HasSubstr("Range too big"));
}

TEST(Jinja, RefusesToGrowWithoutBounds) {
  EXPECT_THAT(refusal("{{ 'x' * 10000000000 }}"), HasSubstr("too long"));
  EXPECT_THAT(refusal("{% set ns = namespace(s='x' * 1000000) %}{% for i in range(100) %}{% set ns.s = ns.s "
                      "+ ns.s %}{% endfor %}"),
              HasSubstr("too"));
  EXPECT_THAT(refusal("{{ [('x' * 1000000)] * 1000000 }}"), HasSubstr("too"));
  EXPECT_THAT(
      refusal(
          "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}"),
      HasSubstr("nested"));
  EXPECT_THAT(refusal("{% set ns = namespace(l=['x']) %}{% for i in range(90) %}{% set ns.l = [ns.l, ns.l] "
                      "%}{% endfor %}{{ ns.l == ns.l }}"),
              HasSubstr("too"));
  EXPECT_THAT(refusal("{{ 2 ** 10000 }}"), HasSubstr("too large"));
  EXPECT_THAT(refusal("{{ 'a'.replace('', 'x' * 60000000).replace('x', 'y' * 60000000) }}"),
              HasSubstr("too much work"));
}

TEST(Jinja, RefusesTemplatesNestedTooDeep) {
  const auto many = [](const std::string& text) {
    std::string out;
    for (int i = 0; i < 100000; ++i) out += text;
    return out;
  };
  EXPECT_THAT(refusal("{{ " + many("(") + "1" + many(")") + " }}"), HasSubstr("nested"));
  EXPECT_THAT(refusal("{{ " + many("not ") + "1 }}"), HasSubstr("nested"));
  EXPECT_THAT(refusal("{{ 1" + many("+1") + " }}"), HasSubstr("nested"));
  EXPECT_THAT(refusal("{{ x" + many(".y") + " }}"), HasSubstr("nested"));
  EXPECT_THAT(refusal(many("{% if 1 %}")), HasSubstr("nested"));
  EXPECT_THAT(refusal("{{ 'a' | map(" + many("'map',") + ") }}"), HasSubstr("more than 64 arguments"));
}

TEST(Jinja, FreesNamespacesThatHoldEachOther) {  // seen by the leak check of sanitizer builds
  EXPECT_EQ(
      rendered("{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{% set a.me = a %}"
               "{% for i in [1] %}{{ loop.changed(loop) }}{% endfor %}"),
      "True");
}

}  // namespace
}  // namespace outrider::chat::jinja

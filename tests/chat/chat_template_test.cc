#include "chat/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace outrider::chat {
namespace {

using ::testing::HasSubstr;

const Json kHello = Json::parse(R"([{"role": "user", "content": "Hi", "name": "Ann", "type": "text"}])");

std::string rendered(const std::string& source, const Json& messages, const TemplateVariables& variables = {},
                     ContentFormat format = ContentFormat::kAuto) {
  return ChatTemplate(source, format).render(messages, variables);
}

std::string refusal(const std::string& source, const Json& messages,
                    const TemplateVariables& variables = {}) {
  try {
    return "rendered: " + rendered(source, messages, variables);
  } catch (const RequestError& error) {
    EXPECT_EQ(error.status(), 400);
    return error.what();
  }
}

TEST(ChatTemplate, SeesWhatVllmHandsToTemplates) {
  TemplateVariables variables;
  variables.tools = Json::parse(R"([{"type": "function", "function": {"name": "f"}}])");
  variables.bos_token = "<s>";
  variables.more = {{"flavour", "mint"}};
  EXPECT_EQ(
      rendered(
          "{{ bos_token }}{{ messages }}{{ tools[0].function.name }}{{ add_generation_prompt }}{{ flavour }}"
          "{{ documents is none }}",
          kHello, variables),
      "<s>[{'role': 'user', 'content': 'Hi', 'name': 'Ann'}]fTruemintTrue");
  EXPECT_EQ(rendered("{{ tools is none }}", kHello), "True");
}

TEST(ChatTemplate, GetsContentsAsTextOrAsPartsByWhatItDoesWithThem) {
  const char* text = "{% for m in messages %}{{ m['content'] }}{% endfor %}";
  const char* parts =
      "{% for m in messages %}{% for p in m['content'] %}<{{ p.text }}>{% endfor %}{% endfor %}";
  const char* set =
      "{% for m in messages %}{% set c = m.content %}{% for p in c | list %}<{{ p.text }}>{% endfor %}{% "
      "endfor %}";
  const Json mixed = Json::parse(
      R"([{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
          {"role": "assistant", "content": null}])");
  EXPECT_EQ(rendered(text, mixed), "ab\nc");
  EXPECT_EQ(rendered(parts, mixed), "<a><b><c>");
  EXPECT_EQ(rendered(set, mixed), "<a><b><c>");
  EXPECT_EQ(rendered(text, kHello, {}, ContentFormat::kOpenAi), "[{'type': 'text', 'text': 'Hi'}]");
  EXPECT_EQ(ChatTemplate(parts, ContentFormat::kString).content_format(), ContentFormat::kString);
}

TEST(ChatTemplate, ReadsTheArgumentsOfToolCallsAsJson) {
  const Json messages = Json::parse(
      R"([{"role": "assistant", "content": "", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{\"a\": [1, null]}"}}]},
          {"role": "tool", "tool_call_id": "1", "content": "ok"}])");
  EXPECT_EQ(rendered("{{ messages[0].tool_calls[0].function.arguments.a }}{{ messages[1].tool_call_id }}",
                     messages),
            "[1, None]1");
  Json broken = messages;
  broken[0]["tool_calls"][0]["function"]["arguments"] = "{\"a\"";
  EXPECT_THAT(refusal("{{ messages }}", broken), HasSubstr("arguments are not JSON"));
}

TEST(ChatTemplate, ContinuesTheLastMessage) {
  const Json messages =
      Json::parse(R"([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " Once upon "}])");
  TemplateVariables variables;
  variables.add_generation_prompt = false;
  variables.continue_final_message = true;
  EXPECT_EQ(rendered("{% for m in messages %}<{{ m.content | trim }}>{% endfor %}", messages, variables),
            "<Hi><Once upon");
  EXPECT_EQ(rendered("{% for m in messages %}<{{ m.content }}>{% endfor %}", messages, variables),
            "<Hi>< Once upon");
  EXPECT_THAT(refusal("nothing", messages, variables), HasSubstr("does not appear"));
}

TEST(ChatTemplate, RefusesWhatCannotBeShown) {
  EXPECT_THAT(refusal("{{ x", kHello), HasSubstr("chat template: template line 1"));
  EXPECT_EQ(refusal("{{ raise_exception('no system role') }}", kHello), "no system role");
  EXPECT_THAT(refusal("x", Json::array()), HasSubstr("at least one message"));
  EXPECT_THAT(
      refusal("x", Json::parse(R"([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])")),
      HasSubstr("images"));
  EXPECT_THAT(refusal("x", Json::parse(R"([{"role": "user", "content": 5}])")),
              HasSubstr("messages[0]: content"));
}

}  // namespace
}  // namespace outrider::chat

#include "chat/llama4_chat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "chat/cases.h"
#include "chat/python_json.h"

namespace outrider::chat {
namespace {

using ::testing::HasSubstr;

Json parse(const std::string& text) { return Json::parse(text); }

std::string rendered(const std::string& messages, const RenderOptions& options = {},
                     const std::string& tools = "null") {
  return render(parse(messages), parse(tools), options);
}

std::string refusal(const std::string& messages, const RenderOptions& options = {},
                    const std::string& tools = "null") {
  try {
    return "rendered: " + rendered(messages, options, tools);
  } catch (const RequestError& error) {
    EXPECT_EQ(error.status(), 400);
    return error.what();
  }
}

bool has_image(const Json& messages) {
  for (const Json& message : messages) {
    if (message["content"].dump().find(R"("type":"image")") != std::string::npos) return true;
  }
  return false;
}

TEST(Render, IsEqualToTheOfficialTemplateOnEveryCaseOfTheFixtures) {
  const auto cases = read_cases("tokenizer/chat_cases.jsonl");
  ASSERT_EQ(cases.size(), 30u);
  int images = 0;
  for (const Json& c : cases) {
    RenderOptions options;
    options.add_generation_prompt = c["add_generation_prompt"];
    const Json kwargs = c.value("template_kwargs", Json::object());
    options.tools_in_user_message = kwargs.value("tools_in_user_message", true);
    const Json tools = c.value("tools", Json());
    if (has_image(c["messages"])) {
      ++images;
      EXPECT_THAT(refusal(c["messages"].dump(), options), HasSubstr("images are not supported yet"));
    } else {
      EXPECT_EQ(render(c["messages"], tools, options), c["rendered"].get<std::string>()) << c["name"];
    }
  }
  EXPECT_EQ(images, 4);
}

TEST(Render, IsEqualToTheOfficialTemplateOnRandomChats) {
  const auto cases = read_cases("chat/render_cases.jsonl");
  ASSERT_GE(cases.size(), 150u);
  for (const Json& c : cases) {
    RenderOptions options;
    options.add_generation_prompt = c["add_generation_prompt"];
    options.tools_in_user_message = c["tools_in_user_message"];
    EXPECT_EQ(render(c["messages"], c["tools"], options), c["rendered"].get<std::string>()) << c["messages"];
  }
}

TEST(Render, ArgumentsMayBeTheTextOfAnObject) {
  const auto with_arguments = [](const std::string& arguments) {
    return R"([{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f")" +
           (arguments.empty() ? "" : ",\"arguments\":" + arguments) + "}}]}]";
  };
  RenderOptions options;
  options.add_generation_prompt = false;
  const auto call = [&](const std::string& arguments) {
    const std::string text = rendered(with_arguments(arguments), options);
    const size_t begin = text.find("\"parameters\": ") + 14;
    return text.substr(begin, text.rfind("}<|eot|>") - begin);
  };
  EXPECT_EQ(call(R"({"a":1,"b":2.0})"), R"({"a": 1, "b": 2.0})");
  EXPECT_EQ(call(R"("{\"a\":1,\"b\":2.0,\"ü\":\"\\u00fc\"}")"), R"({"a": 1, "b": 2.0, "ü": "ü"})");
  EXPECT_EQ(call(R"("{\"n\":123456789012345678901234567890}")"), R"({"n": 123456789012345678901234567890})");
  EXPECT_EQ(call(R"("{\"a\":1,\"b\":2,\"a\":3}")"), R"({"a": 3, "b": 2})") << "as Python reads equal keys";
  for (const char* nothing : {"", "null", "\"\"", "\" \"", "{}", "\"{}\""}) EXPECT_EQ(call(nothing), "{}");
  for (const char* wrong :
       {"3", "[]", "true", "\"3\"", "\"[1]\"", "\"{\"", "\"{} {}\"", "\"{'a': 1}\"", "\"{\\\"a\\\":1,}\""}) {
    EXPECT_THAT(refusal(with_arguments(wrong), options), HasSubstr("messages[0]: a tool call's arguments"))
        << wrong;
  }
}

TEST(Render, ContinuesTheFinalMessage) {
  RenderOptions options;
  options.add_generation_prompt = false;
  options.continue_final_message = true;
  const std::string start = "<|begin_of_text|><|header_start|>user<|header_end|>\n\nHi<|eot|>";
  EXPECT_EQ(rendered(R"([{"role":"user","content":"Hi"},{"role":"assistant","content":" I am "}])", options),
            start + "<|header_start|>assistant<|header_end|>\n\n I am ");
  EXPECT_EQ(rendered(R"([{"role":"system","content":" a "}])", options),
            "<|begin_of_text|><|header_start|>system<|header_end|>\n\na");
  EXPECT_EQ(
      rendered(
          R"([{"role":"user","content":"Hi"},{"role":"assistant","content":[{"type":"text","text":"x"}]}])",
          options),
      start + "<|header_start|>assistant<|header_end|>\n\nx");
  EXPECT_THAT(refusal(R"([{"role":"user","content":"Hi"},{"role":"tool","content":"x"}])", options),
              HasSubstr("messages[1]: a tool's result cannot be continued"));
  options.add_generation_prompt = true;
  EXPECT_EQ(refusal(R"([{"role":"user","content":"Hi"}])", options),
            "Cannot set both `continue_final_message` and `add_generation_prompt` to True.");
}

TEST(Render, ServesWhatClientsSendAlthoughTheTemplateWouldNot) {
  const std::string hi =
      "<|begin_of_text|><|header_start|>user<|header_end|>\n\nHi<|eot|>"
      "<|header_start|>assistant<|header_end|>\n\n";
  EXPECT_EQ(rendered(R"([{"role":"user","content":"Hi"}])", {}, "[]"), hi)
      << "an empty list of tools is none";
  EXPECT_EQ(rendered(R"([{"role":"user","content":["H",{"type":"input_text","text":"i"}],"name":"x"}])"), hi);
  const std::string assistant = "<|header_start|>assistant<|header_end|>\n\n";
  for (const char* extra : {R"(,"tool_calls":[])", R"(,"tool_calls":null)", R"(,"refusal":null)"}) {
    EXPECT_EQ(rendered(std::string(R"([{"role":"user","content":"Hi"},{"role":"assistant","content":"x")") +
                       extra + "}]"),
              hi + "x<|eot|>" + assistant);
  }
  EXPECT_EQ(rendered(R"([{"role":"user","content":null}])"),
            "<|begin_of_text|><|header_start|>user<|header_end|>\n\n<|eot|>" + assistant);
  EXPECT_EQ(
      rendered(R"([{"role":"system","content":[{"type":"text","text":" a"},{"type":"text","text":"b "}]}])"),
      "<|begin_of_text|><|header_start|>system<|header_end|>\n\nab<|eot|>" + assistant);
  EXPECT_EQ(rendered(R"([{"role":"tool","content":null}])"),
            "<|begin_of_text|><|header_start|>ipython<|header_end|>\n\n\"\"<|eot|>" + assistant);
}

TEST(Render, RefusesTheRestWithAMessageThatNamesThePlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"null", "messages must be a list"},
      {"{}", "messages must be a list"},
      {"\"x\"", "messages must be a list"},
      {"[]", "at least one message"},
      {"[3]", "messages[0]: must be an object"},
      {"[[]]", "messages[0]: must be an object"},
      {R"([{"content":"x"}])", "messages[0]: needs a role"},
      {R"([{"role":3,"content":"x"}])", "messages[0]: needs a role"},
      {R"([{"role":"","content":"x"}])", "messages[0]: role must be"},
      {R"([{"role":"user<|header_end|>","content":"x"}])", "messages[0]: role must be"},
      {R"([{"role":"user"}])", "messages[0]: needs a content"},
      {R"([{"role":"system"}])", "messages[0]: needs a content"},
      {R"([{"role":"user","content":"a"},{"role":"user","content":3}])",
       "messages[1]: content must be a text"},
      {R"([{"role":"user","content":{"type":"text","text":"x"}}])", "messages[0]: content must be a text"},
      {R"([{"role":"user","content":[[{"type":"text","text":"x"}]]}])", "messages[0]: each part"},
      {R"([{"role":"user","content":[{"text":"x"}]}])", "messages[0]: each part"},
      {R"([{"role":"user","content":[{"type":"text"}]}])", "has no text"},
      {R"([{"role":"user","content":[{"type":"text","text":null}]}])", "has no text"},
      {R"([{"role":"user","content":[{"type":"input_audio"}]}])", "\"input_audio\" is not supported"},
      {R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])",
       "images are not supported yet"},
      {R"([{"role":"system","content":[{"type":"image"}]}])", "images are not supported yet"},
      {R"([{"role":"tool","content":[{"type":"image"}]}])", "images are not supported yet"},
      {R"([{"role":"tool"}])", "messages[0]: a tool's result needs a content"},
      {R"([{"role":"tool","content":3}])", "a tool's content must be"},
      {R"([{"role":"user","content":"x","tool_calls":[{"function":{"name":"f"}}]}])",
       "belong to messages of the assistant"},
      {R"([{"role":"assistant","tool_calls":{}}])", "tool_calls must be a list"},
      {R"([{"role":"assistant","tool_calls":[3]}])", "must have a function"},
      {R"([{"role":"assistant","tool_calls":[{"function":{}}]}])", "function has no name"},
  };
  for (const auto& [messages, expected] : cases)
    EXPECT_THAT(refusal(messages), HasSubstr(expected)) << messages;
  const std::string user = R"([{"role":"user","content":"x"}])";
  EXPECT_THAT(refusal(user, {}, "{\"a\":1}"), HasSubstr("tools must be a list"));
  EXPECT_THAT(refusal(user, {}, "[3]"), HasSubstr("each of tools must be an object"));
  EXPECT_THAT(refusal(R"([{"role":"system","content":"x"}])", {}, "[{}]"), HasSubstr("there is none"));
}

TEST(Render, DeepNestingIsRefusedNotFollowed) {
  const std::string deep = std::string(5000, '[') + std::string(5000, ']');
  EXPECT_THAT(refusal(R"([{"role":"tool","content":)" + deep + "}]"),
              HasSubstr("nested more than 256 levels"));
  EXPECT_THAT(refusal(R"([{"role":"user","content":"x"}])", {}, "[{\"a\":" + deep + "}]"),
              HasSubstr("nested more than 256"));
  EXPECT_THAT(refusal(R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"a\":)" +
                      deep + "}\"}}]}]"),
              HasSubstr("not the text of a JSON object"));
}

TEST(PythonJson, IsEqualToJsonDumps) {
  const auto cases = read_cases("chat/json_cases.jsonl");
  ASSERT_GE(cases.size(), 300u);
  for (const Json& c : cases) {
    const Json value = parse(c["text"].get<std::string>());
    EXPECT_EQ(python_json(value), c["plain"].get<std::string>());
    EXPECT_EQ(python_json(value, -1, true), c["ascii"].get<std::string>());
    EXPECT_EQ(python_json(value, 4), c["indented"].get<std::string>());
  }
}

TEST(PythonJson, RepairsWhatIsNotUtf8) {
  EXPECT_EQ(python_json(Json("a\xFF\xE6\xBC")), "\"a\xEF\xBF\xBD\xEF\xBF\xBD\"");
  EXPECT_EQ(python_json(Json("\xED\xA0\x80"), -1, true), "\"\\ufffd\\ufffd\\ufffd\"");
}

}  // namespace
}  // namespace outrider::chat

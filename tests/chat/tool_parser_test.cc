#include "chat/tool_parser.h"

#include <gtest/gtest.h>

#include <random>

#include "chat/cases.h"

namespace outrider::chat {
namespace {

constexpr ToolFormat kPythonic = ToolFormat::kPythonic;
constexpr ToolFormat kJson = ToolFormat::kJson;

// "content|name arguments|name arguments"
std::string shown(const ParsedReply& reply) {
  std::string out = reply.content;
  for (const ToolCall& call : reply.calls) out += "|" + call.name + " " + call.arguments;
  return out;
}

std::string parsed(ToolFormat format, const std::string& text) { return shown(parse_reply(format, text)); }

// The reply as it comes out of a stream that is fed `pieces`.
std::string streamed(ToolFormat format, const std::vector<std::string>& pieces) {
  ToolStream stream(format);
  ParsedReply reply;
  const auto take = [&](const ToolDelta& delta) {
    reply.content += delta.content;
    for (const auto& call : delta.calls) {
      if (call.index == static_cast<int>(reply.calls.size())) reply.calls.push_back({call.name, ""});
      EXPECT_EQ(call.index + 1, static_cast<int>(reply.calls.size()));
      reply.calls.back().arguments += call.arguments;
    }
  };
  for (const std::string& piece : pieces) take(stream.push(piece));
  take(stream.finish());
  EXPECT_EQ(stream.saw_calls(), !reply.calls.empty());
  return shown(reply);
}

void expect_parsed(ToolFormat format, const std::string& text, const std::string& expected) {
  EXPECT_EQ(parsed(format, text), expected) << text;
  for (size_t at = 0; at <= text.size(); ++at) {
    ASSERT_EQ(streamed(format, {text.substr(0, at), text.substr(at)}), expected)
        << text << " split at " << at;
  }
  std::vector<std::string> bytes;
  for (const char c : text) bytes.emplace_back(1, c);
  ASSERT_EQ(streamed(format, bytes), expected) << text << " byte by byte";
}

void expect_content(ToolFormat format, const std::string& text) { expect_parsed(format, text, text); }

TEST(ToolParser, VllmsNamesForLlamaStandForTwoFormatsAndOthersForNone) {
  EXPECT_EQ(tool_format("llama4_pythonic"), kPythonic);
  EXPECT_EQ(tool_format("pythonic"), kPythonic);
  EXPECT_EQ(tool_format("llama4_json"), kJson);
  EXPECT_EQ(tool_format("llama3_json"), kJson);
  EXPECT_EQ(tool_format("hermes"), std::nullopt);
  for (const std::string& name : tool_parser_names()) EXPECT_TRUE(tool_format(name).has_value());
}

TEST(Pythonic, IsEqualToPythonOnEveryCase) {
  const auto cases = read_cases("chat/pythonic_cases.jsonl");
  ASSERT_GE(cases.size(), 350u);
  int calls = 0;
  for (const auto& c : cases) {
    const auto text = c["text"].get<std::string>();
    if (c["calls"].is_null()) {
      EXPECT_EQ(parsed(kPythonic, text), text);
      continue;
    }
    ++calls;
    std::string expected;
    for (const auto& call : c["calls"]) {
      expected += "|" + call["name"].get<std::string>() + " " + call["arguments"].get<std::string>();
    }
    EXPECT_EQ(parsed(kPythonic, text), expected) << text;
  }
  EXPECT_GE(calls, 300);
}

TEST(Pythonic, CallsThatOthersLoseAreFound) {
  expect_parsed(kPythonic, R"([move(x=-1, y=-2.5, z=+3)])", R"(|move {"x": -1, "y": -2.5, "z": 3})");
  expect_parsed(kPythonic, R"([f(a=[[1, -2], [], {"k": [None, True, {'d': False}]}])])",
                R"(|f {"a": [[1, -2], [], {"k": [null, true, {"d": false}]}]})");
  expect_parsed(kPythonic, R"([weather.get(city="Paris"), b-c()])",
                R"(|weather.get {"city": "Paris"}|b-c {})");
  expect_parsed(kPythonic, R"([f(s="a\"]b", t='it\'s ) [', u="""x"y""", v='')])",
                R"(|f {"s": "a\"]b", "t": "it's ) [", "u": "x\"y", "v": ""})");
  expect_parsed(kPythonic, R"([f(a=true, b=null, n=123456789012345678901234567890)])",
                R"(|f {"a": true, "b": null, "n": 123456789012345678901234567890})");
  expect_parsed(kPythonic, "[f(s='Zürich \xF0\x9F\x8C\xA7', t='a\nb')]",
                R"(|f {"s": "Z\u00fcrich \ud83c\udf27", "t": "a\nb"})");
  expect_parsed(kPythonic, "[ f ( a = 1 , ) , ]", R"(|f {"a": 1})");
}

TEST(Pythonic, MarkersAndSpaceAroundCallsAreDropped) {
  const std::string call = R"(|f {"x": 1})";
  expect_parsed(kPythonic, "<|python_start|>[f(x=1)]<|python_end|>", call);
  expect_parsed(kPythonic, "\n <|python_start|>\n[f(x=1)]\n<|python_end|>\n", call);
  expect_parsed(kPythonic, "[f(x=1)]\n[g()]", R"(|f {"x": 1}|g {})");
}

TEST(Pythonic, TextAroundCallsIsContent) {
  expect_parsed(kPythonic, "I will look it up.\n\n[f(x=1)]", R"(I will look it up.|f {"x": 1})");
  expect_parsed(kPythonic, "Calling: [f(x=1)]", R"(Calling:|f {"x": 1})");
  expect_parsed(kPythonic, "好的。[f(x=1)]", R"(好的。|f {"x": 1})");
  expect_parsed(kPythonic, "A\n[f(x=1)]\nB", "A\nB|f {\"x\": 1}");
  expect_parsed(kPythonic, "[f(x=1)]\nThat was it. ", R"(That was it. |f {"x": 1})");
  expect_parsed(kPythonic, "<|python_start|>[f(x=1)]<|python_end|> and more", R"(and more|f {"x": 1})");
}

TEST(Pythonic, EverythingElseIsContent) {
  for (const char* text : {"",
                           " ",
                           "Hello",
                           "Hello [world](http://x) [1] [",
                           "[1, 2]",
                           "[]",
                           "[f]",
                           "[f(1)]",
                           "[f(x=1, 2)]",
                           "[f(x=1, x=2)]",
                           "[f(x==1)]",
                           "[f(x=y)]",
                           "[f(x=1)",
                           "[f(x='a)]",
                           "[f(x=g())]",
                           "[f(**{'a': 1})]",
                           "[f(x=1+1)]",
                           "[f(x=1) for x in y]",
                           "[f(x={1, 2})]",
                           "[f(x=1j)]",
                           "[f(x=b'a')]",
                           "[f(x=f'a')]",
                           "[f(x=1)}",
                           "f(x=1)",
                           "values = [f(x=1)]",
                           "return [f(x=1)]",
                           "\n <|python_start|>print(1)<|python_end|>\n",
                           "<|python_start|>",
                           "<|python_",
                           "a < b <|python_start",
                           "[f(x=0x)]",
                           "[f(x=1e)]",
                           "[f(x=01)]",
                           "[f(x='\\x4')]",
                           "[f(x='\\N{DASH}')]",
                           "[f(x='\\U00110000')]",
                           "{\"answer\": 42}",
                           "{",
                           "{\"name\"",
                           "[{\"name\": 1}]",
                           "{\"name\": \"f\"}",
                           "{\"name\": \"\", \"parameters\": {}}",
                           "{\"name\": \"f\", \"parameters\": [1]}"}) {
    expect_content(kPythonic, text);
  }
  expect_content(kPythonic, "It replies in JSON: {\"name\": \"f\", \"parameters\": {}}");
}

TEST(Pythonic, AJsonReplyIsACallToo) {
  const std::string call = R"(|f {"city": "Z\u00fcrich", "n": -1})";
  expect_parsed(kPythonic, R"({"name": "f", "parameters": {"city": "Zürich", "n": -1}})", call);
  expect_parsed(
      kPythonic,
      R"(<|python_start|>{"type": "function", "name": "f", "parameters": {"city":"Zürich","n":-1}}<|python_end|>)",
      call);
  expect_parsed(kPythonic,
                R"([{"name":"f","arguments":{"city":"Zürich","n":-1}}, {"name":"g","parameters":{}}])",
                call + "|g {}");
}

TEST(JsonCalls, AreFoundAnywhere) {
  const std::string call = R"(|f {"city": "Zürich", "n": [1, 2.0, -3]})";
  const std::string text = R"({"name": "f", "parameters": {"city":"Z\u00fcrich","n":[1,2.0,-3]}})";
  expect_parsed(kJson, text, call);
  expect_parsed(kJson, "<|python_tag|>" + text, call);
  expect_parsed(kJson, "<|python_start|><|python_end|>" + text + text, call + call);
  expect_parsed(kJson, text + "; " + text + ";\n" + text, call + call + call);
  expect_parsed(kJson, "I will check {this}. " + text + "\nDone.", "I will check {this}. Done." + call);
  expect_parsed(kJson,
                R"({"type":"function","function":{"name":"f","parameters":{"a":{"b":{"c":{"d":{}}}}}}})",
                R"(|f {"a": {"b": {"c": {"d": {}}}}})");
  expect_parsed(kJson, R"({"name":"f","arguments":"{\"a\": \"x;y}{\"}"})", R"(|f {"a": "x;y}{"})");
  expect_parsed(kJson, R"({"name":"f","arguments":{"n":123456789012345678901234567890,"n":-0}})",
                R"(|f {"n": 0})");
  expect_parsed(kJson, "{ \"name\" : \"f\" , \"parameters\" : { } }", "|f {}");
  expect_parsed(kJson, R"(x {"name": "f"} y {"name": "g", "parameters": {}})", R"(x {"name": "f"} y|g {})");
}

TEST(JsonCalls, EverythingElseIsContent) {
  for (const char* text :
       {"{}", "[]", "{\"answer\": 42}", "if (a) { b(); } [c]", "{\"name\": \"f\", \"parameters\": {}",
        "{\"name\": \"f\", \"parameters\": {]}", "{\"name\": \"f\", \"parameters\": {\"a\": 1,}}",
        "{\"name\": 3, \"parameters\": {}}", "{\"name\": \"f\", \"parameters\": \"x\"}",
        "{\"name\": \"f\", \"parameters\": {\"a\": nan}}",
        "{\"name\": \"f\", \"parameters\": {\"a\": 1e999}}", "[f(x=1)]",
        "{\"name\": \"f\", \"parameters\": {\"a\": 01}}", "{\"name\": \"f\", \"parameters\": {'a': 1}}",
        "[{\"name\": \"f\", \"parameters\": {}}, 3]"}) {
    expect_content(kJson, text);
  }
}

TEST(ToolStream, OrdinaryTextIsSentAtOnce) {
  for (const ToolFormat format : {kPythonic, kJson}) {
    ToolStream stream(format);
    EXPECT_EQ(stream.push("Hello").content, "Hello");
    EXPECT_EQ(stream.push(" there, see").content, " there, see");
    EXPECT_EQ(stream.push(" [1").content, " [1");
    EXPECT_EQ(stream.push("] and 3 <").content, "] and 3") << "may become a marker";
    EXPECT_EQ(stream.push(" 4").content, " < 4");
    EXPECT_EQ(stream.push(" {\"answer\":").content, " {\"answer\":");
    EXPECT_FALSE(stream.saw_calls());
  }
}

TEST(ToolStream, ACallComesWhenItsLastBracketCloses) {
  ToolStream stream(kPythonic);
  EXPECT_EQ(stream.push("Well.\n\n").content, "Well.");
  EXPECT_TRUE(stream.push("[f(x=").calls.empty());
  EXPECT_TRUE(stream.push("'a]', y=[1]").calls.empty());
  const ToolDelta delta = stream.push("), g()]");
  ASSERT_EQ(delta.calls.size(), 2u);
  EXPECT_EQ(delta.calls[0].arguments, R"({"x": "a]", "y": [1]})");
  EXPECT_EQ(delta.calls[1].index, 1);
  EXPECT_EQ(delta.content, "");
  EXPECT_TRUE(stream.saw_calls());
}

TEST(ToolStream, AnySplitGivesWhatTheWholeTextGives) {
  const std::vector<std::string> parts = {"[f(x=1)]",
                                          "[",
                                          "]",
                                          "{",
                                          "}",
                                          "(",
                                          ")",
                                          "f(",
                                          "x=",
                                          "'",
                                          "\"",
                                          "\\",
                                          "'''",
                                          "\"\"\"",
                                          ",",
                                          ";",
                                          " ",
                                          "\n",
                                          "<|python_start|>",
                                          "<|python_end|>",
                                          "<|python",
                                          "text.",
                                          "é",
                                          "-1",
                                          "[g(a=[{'b': \"c\"}])]",
                                          R"({"name": "f", "parameters": {"a": "b"}})",
                                          "{\"name\": ",
                                          "\"f\"",
                                          "[{\"name\":",
                                          "True",
                                          ":"};
  std::mt19937 rng(7);
  int with_calls = 0;
  for (int i = 0; i < 20000; ++i) {
    const ToolFormat format = i % 2 ? kJson : kPythonic;
    std::string text;
    for (size_t n = rng() % 10; n > 0; --n) text += parts[rng() % parts.size()];
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t length = 1 + rng() % (1 + rng() % 12);
      pieces.push_back(text.substr(at, length));
      at += length;
    }
    const ParsedReply whole = parse_reply(format, text);
    ASSERT_EQ(streamed(format, pieces), shown(whole)) << text;
    if (whole.calls.empty()) {
      ASSERT_EQ(whole.content, text);
    }
    for (const ToolCall& call : whole.calls) ASSERT_TRUE(nlohmann::json::parse(call.arguments).is_object());
    with_calls += !whole.calls.empty();
  }
  EXPECT_GT(with_calls, 2000);
}

TEST(ToolStream, ArgumentsAreJsonWhateverTheBytes) {
  for (const ToolFormat format : {kPythonic, kJson}) {
    const std::string value = "\"\xFF\xED\xA0\x80\\ud800\x01\"";
    const ParsedReply reply =
        parse_reply(format, "{\"name\": \"f\", \"parameters\": {" + value + ": " + value + "}}");
    ASSERT_EQ(reply.calls.size(), 1u);
    EXPECT_TRUE(nlohmann::json::accept(reply.calls[0].arguments));
  }
}

TEST(ToolStream, NestingIsBoundedAndTimeIsInProportion) {
  for (const std::string unit : {"[f(", "[f(x=", "[f(x=[", "[f(x='", "{\"name\":", "[{\"name\":",
                                 "{\"name\": \"f\", \"parameters\": {}}", "[f()]", "[f(x=1)", " ", "\n[", "<",
                                 "<|python_start|>", "[aaaaaaaa", "\\", "'", "[f(x=''", "{"}) {
    std::string text;
    while (text.size() < 400'000) text += unit;
    for (const ToolFormat format : {kPythonic, kJson}) {
      for (const size_t step : {size_t{1}, size_t{7}, text.size()}) {
        const std::clock_t start = std::clock();  // of this process: other load must not count
        ToolStream stream(format);
        size_t content = 0;
        for (size_t at = 0; at < text.size(); at += step)
          content += stream.push(std::string_view(text).substr(at, step)).content.size();
        content += stream.finish().content.size();
        EXPECT_LT((std::clock() - start) / CLOCKS_PER_SEC, 5) << unit << " in steps of " << step;
        if (!stream.saw_calls()) {
          EXPECT_EQ(content, text.size()) << unit;
        }
      }
    }
  }
}

}  // namespace
}  // namespace outrider::chat

// What requests want their output to match, and replies that tool_choice forces to be calls.
#include <gtest/gtest.h>

#include "base/json_string.h"
#include "server/harness.h"
#include "server/json_text.h"

namespace outrider::server {
namespace {

using Kind = sampling::GrammarSpec::Kind;

const std::string kTools =
    R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object",)"
    R"("properties":{"x":{"$ref":"#/$defs/X"}},"$defs":{"X":{"type":"integer"}}}}},)"
    R"({"type":"function","function":{"name":"g"}}])";
const std::string kRequired = R"("tool_choice":"required",)" + kTools;
const std::string kNamed = R"("tool_choice":{"type":"function","function":{"name":"f"}},)" + kTools;

class StructuredOutputs : public testing::Test {
 protected:
  StructuredOutputs() { harness_.service.options.max_model_len = 1000; }  // room for tools in the prompt

  sampling::GrammarSpec spec_of(const std::string& target, const std::string& body) {
    harness_.say("x");
    const auto reply = harness_.post(target, body);
    EXPECT_EQ(reply->response.status, 200) << body << reply->response.body;
    if (harness_.grammars->specs.empty() || harness_.engine->requests.empty()) {
      ADD_FAILURE() << "nothing was compiled or submitted: " << body;
      return {};
    }
    EXPECT_NE(harness_.engine->requests.back().grammar, nullptr);
    return harness_.grammars->specs.back();
  }

  Harness harness_;
};

TEST_F(StructuredOutputs, every_spelling_asks_for_the_same_grammars) {
  const std::string schema = R"({"type":"object","properties":{"b":{},"a":{}}})";
  const std::string quoted = json_string(schema);
  const std::tuple<std::string, Kind, std::string, std::string> rows[] = {
      {R"("guided_json":)" + schema, Kind::kJsonSchema, schema, "guided_json"},
      {R"("guided_json":)" + quoted, Kind::kJsonSchema, schema, "guided_json"},
      {R"("structured_outputs":{"json":)" + schema + "}", Kind::kJsonSchema, schema,
       "structured_outputs.json"},
      {R"("structured_outputs":{"json":)" + quoted + R"(,"regex":null})", Kind::kJsonSchema, schema,
       "structured_outputs.json"},
      {R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":)" + schema +
           R"(,"strict":true}})",
       Kind::kJsonSchema, schema, "response_format"},
      {R"("response_format":{"type":"json_object"})", Kind::kJsonSchema, R"({"type":"object"})",
       "response_format"},
      {R"("structured_outputs":{"json_object":true})", Kind::kJsonSchema, R"({"type":"object"})",
       "structured_outputs.json_object"},
      {R"("guided_regex":"a+")", Kind::kRegex, "a+", "guided_regex"},
      {R"("structured_outputs":{"regex":"a+"})", Kind::kRegex, "a+", "structured_outputs.regex"},
      {R"("guided_choice":["a","b"])", Kind::kChoice, R"(["a","b"])", "guided_choice"},
      {R"("structured_outputs":{"choice":["a","b"]})", Kind::kChoice, R"(["a","b"])",
       "structured_outputs.choice"},
      {R"("guided_grammar":"root ::= \"a\"")", Kind::kEbnf, "root ::= \"a\"", "guided_grammar"},
      {R"("structured_outputs":{"grammar":"root ::= \"a\""})", Kind::kEbnf, "root ::= \"a\"",
       "structured_outputs.grammar"},
      {R"("response_format":{"type":"structural_tag","format":{"type":"any_text"}})", Kind::kStructuralTag,
       R"({"type":"structural_tag","format":{"type":"any_text"}})", "response_format"},
      {R"("response_format":{"type":"structural_tag","structures":[{"begin":"<f>","schema":{},"end":"</f>"}],"triggers":["<f"]})",
       Kind::kStructuralTag,
       R"({"type":"structural_tag","format":{"type":"triggered_tags","triggers":["<f"],"tags":[{"begin":"<f>",)"
       R"("content":{"type":"json_schema","json_schema":{}},"end":"</f>"}]}})",
       "response_format"},
  };
  for (const auto& [fields, kind, text, field] : rows) {
    for (const bool is_chat : {false, true}) {
      const sampling::GrammarSpec spec =
          is_chat ? spec_of(kChat, chat(fields)) : spec_of(kCompletions, completion(fields));
      EXPECT_EQ(spec.kind, kind) << fields;
      EXPECT_EQ(spec.text, text);
      EXPECT_EQ(spec.field, field);
      EXPECT_TRUE(spec.any_whitespace);
    }
  }
}

TEST_F(StructuredOutputs, nothing_is_compiled_for_a_request_that_wants_nothing) {
  harness_.say("x");
  for (const char* fields :
       {R"("n":1)", R"("response_format":{"type":"text"})", R"("structured_outputs":{"json":null})",
        R"("structured_outputs":{"json_object":false,"disable_fallback":true})"}) {
    EXPECT_EQ(harness_.post(kCompletions, completion(fields))->response.status, 200) << fields;
    EXPECT_EQ(harness_.engine->requests.back().grammar, nullptr);
  }
  EXPECT_TRUE(harness_.grammars->specs.empty());
}

TEST_F(StructuredOutputs, white_space_is_the_servers_or_the_requests_choice) {
  EXPECT_FALSE(
      spec_of(kCompletions, completion(R"("structured_outputs":{"json":{},"disable_any_whitespace":true})"))
          .any_whitespace);
  harness_.service.options.json_any_whitespace = false;
  EXPECT_FALSE(spec_of(kCompletions, completion(R"("guided_json":{})")).any_whitespace);
}

TEST_F(StructuredOutputs, every_choice_gets_the_grammar) {
  spec_of(kCompletions, R"({"prompt":["a","b"],"n":2,"guided_regex":"a"})");
  ASSERT_EQ(harness_.engine->requests.size(), 4u);
  for (const engine::Request& request : harness_.engine->requests) EXPECT_NE(request.grammar, nullptr);
  EXPECT_EQ(harness_.grammars->specs.size(), 1u);
}

TEST_F(StructuredOutputs, a_grammar_that_does_not_compile_is_400_and_an_event_of_a_stream) {
  harness_.grammars->error = RequestError("`guided_regex`: wrong");
  EXPECT_EQ(harness_.message_of(kCompletions, completion(R"("guided_regex":"(")")), "`guided_regex`: wrong");
  const auto events = harness_.events_of(kCompletions, completion(R"("guided_regex":"(","stream":true)"));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_NE(events[0].find("`guided_regex`: wrong"), std::string::npos);
  harness_.grammars->error = RequestError("later", "Service Unavailable", 503);
  EXPECT_EQ(harness_.message_of(kCompletions, completion(R"("guided_regex":"(","stream":true)"), 503),
            "later");
  EXPECT_TRUE(harness_.engine->requests.empty());
}

TEST_F(StructuredOutputs, forced_calls_bring_their_schema) {
  EXPECT_EQ(spec_of(kChat, chat(kNamed)).text,
            R"({"type":"object","properties":{"x":{"$ref":"#/$defs/X"}},"$defs":{"X":{"type":"integer"}}})");
  EXPECT_EQ(
      spec_of(kChat, chat(kRequired)).text,
      R"({"type":"array","minItems":1,"items":{"anyOf":[{"type":"object","properties":{"name":{"type":"string",)"
      R"("enum":["f"]},"parameters":{"type":"object","properties":{"x":{"$ref":"#/$defs/X"}}}},)"
      R"("required":["name","parameters"]},{"type":"object","properties":{"name":{"type":"string","enum":["g"]},)"
      R"("parameters":{"type":"object","properties":{}}},"required":["name","parameters"]}]},)"
      R"("$defs":{"X":{"type":"integer"}}})");
  EXPECT_EQ(harness_.message_of(kChat, chat(kNamed + R"(,"guided_json":{})")),
            "`tool_choice` and `guided_json` both say what the reply must be; leave one out.");
  EXPECT_EQ(
      harness_.message_of(kChat, chat(kRequired.substr(0, kRequired.size() - 1) +
                                      R"(,{"function":{"name":"h","parameters":{"$defs":{"X":{}}}}}])")),
      "`tools` have different schemas named 'X' in their `$defs`.");
}

// name and arguments of each call, and the reason, of a stream.
struct Streamed {
  std::vector<std::pair<std::string, std::string>> calls;
  std::string content, reason;
};

Streamed join(const std::vector<std::string>& events) {
  Streamed all;
  for (const std::string& event : events) {
    size_t at = 0;
    while ((at = event.find("data: {", at)) != std::string::npos) {  // several may share a write
      at += 6;
      const Json choice = Json::parse(event.substr(at, event.find("\n\n", at) - at))["choices"][0];
      if (choice["finish_reason"].is_string()) all.reason = choice["finish_reason"];
      const Json& delta = choice["delta"];
      if (delta.contains("content")) all.content += delta["content"].get<std::string>();
      for (const Json& call : delta.contains("tool_calls") ? delta["tool_calls"] : Json::array()) {
        const size_t index = call["index"];
        all.calls.resize(std::max(all.calls.size(), index + 1));
        const Json& function = call["function"];
        if (function.contains("name")) all.calls[index].first += function["name"].get<std::string>();
        if (function.contains("arguments"))
          all.calls[index].second += function["arguments"].get<std::string>();
      }
    }
  }
  return all;
}

TEST_F(StructuredOutputs, forced_calls_become_tool_calls_whole_and_streamed) {
  const std::tuple<std::string, std::string, std::vector<std::pair<std::string, std::string>>> rows[] = {
      {kNamed, R"({"x":1,"y":"é"})", {{"f", R"({"x":1,"y":"é"})"}}},
      {kRequired,
       R"([{"name":"f","parameters":{"x": 1}}, {"name": "g", "parameters": {}}])",
       {{"f", R"({"x": 1})"}, {"g", "{}"}}},
  };
  for (const auto& [fields, text, calls] : rows) {
    harness_.say(text);
    const Json choice = Json::parse(harness_.body_of(kChat, chat(fields)))["choices"][0];
    EXPECT_EQ(choice["message"]["content"], "");
    EXPECT_EQ(choice["finish_reason"], "stop");
    ASSERT_EQ(choice["message"]["tool_calls"].size(), calls.size()) << choice;
    for (size_t i = 0; i < calls.size(); ++i) {
      EXPECT_EQ(choice["message"]["tool_calls"][i]["function"]["name"], calls[i].first);
      EXPECT_EQ(choice["message"]["tool_calls"][i]["function"]["arguments"], calls[i].second);
    }
    const Streamed streamed = join(harness_.events_of(kChat, chat(fields + R"(,"stream":true)")));
    EXPECT_EQ(streamed.calls, calls);
    EXPECT_EQ(streamed.content, "");
    EXPECT_EQ(streamed.reason, "tool_calls");
  }
}

}  // namespace
}  // namespace outrider::server

// Bytes of answers: key order, nulls, event by event.
#include <gtest/gtest.h>

#include "base/utf8.h"
#include "server/harness.h"
#include "server/json_text.h"

namespace outrider::server {
namespace {

const std::string kHi = R"("messages":[{"role":"user","content":"hi"}])";

class Replies : public testing::Test {
 protected:
  int32_t id(const std::string& text) const {
    const std::vector<int32_t> ids = harness_.ids(text);
    EXPECT_EQ(ids.size(), 1u) << text;
    return ids.at(0);
  }
  std::string prompt_tokens() const { return std::to_string(harness_.engine->requests.back().prompt.size()); }

  Harness harness_;
};

TEST_F(Replies, a_completion_has_vllms_keys_in_vllms_order) {
  harness_.say_ids({id("a"), id("b")}, engine::FinishReason::kLength);
  EXPECT_EQ(
      harness_.body_of(kCompletions, R"({"prompt":[5,6,7],"max_tokens":2})"),
      R"({"id":"cmpl-x","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"ab",)"
      R"("logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,"prompt_logprobs":null,)"
      R"("prompt_token_ids":null}],"service_tier":null,"system_fingerprint":null,"usage":{"prompt_tokens":3,)"
      R"("total_tokens":5,"completion_tokens":2,"prompt_tokens_details":null},"kv_transfer_params":null})");
}

TEST_F(Replies, a_streamed_completion_has_vllms_events) {
  harness_.say_ids({id("a"), id("b")}, engine::FinishReason::kLength);
  const auto events = harness_.events_of(
      kCompletions,
      R"({"prompt":[5,6,7],"model":"alias","stream":true,"stream_options":{"include_usage":true}})");
  const std::string head =
      R"(data: {"id":"cmpl-x","object":"text_completion","created":1,"model":"m","choices":[)";
  const std::vector<std::string> expected = {
      head +
          R"({"index":0,"text":"a","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,)"
          R"("token_ids":null}],"usage":null})"
          "\n\n",
      head + R"({"index":0,"text":"b","logprobs":null,"finish_reason":"length","stop_reason":null,)"
             R"("prompt_token_ids":null,"token_ids":null}],"usage":null})"
             "\n\n",
      head + R"(],"usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}})"
             "\n\n",
      "data: [DONE]\n\n"};
  EXPECT_EQ(events, expected);
}

TEST_F(Replies, continuous_usage_is_in_every_event) {
  harness_.say_ids({id("a"), id("b")});
  const auto events = harness_.events_of(
      kCompletions, R"({"prompt":[5,6,7],"stream":true,"stream_options":{"continuous_usage_stats":true}})");
  ASSERT_EQ(events.size(), 4u);
  EXPECT_NE(events[0].find(R"("usage":{"prompt_tokens":3,"total_tokens":4,"completion_tokens":1,)"
                           R"("prompt_tokens_details":null}})"),
            std::string::npos)
      << events[0];
  EXPECT_NE(events[1].find(R"("completion_tokens":2,"prompt_tokens_details":null}})"), std::string::npos);
}

TEST_F(Replies, a_stream_without_options_has_no_usage_event) {
  harness_.say("a");
  EXPECT_EQ(harness_.events_of(kCompletions, R"({"prompt":[5],"stream":true})").size(), 2u);
  EXPECT_EQ(harness_.events_of(kCompletions, R"({"prompt":[5],"stream":true,"stream_options":{}})").size(),
            3u);
}

TEST_F(Replies, a_chat_reply_has_vllms_keys_in_vllms_order) {
  harness_.say_ids({id("a"), id("b"), 4072});
  const std::string body = harness_.body_of(kChat, "{" + kHi + "}");
  const std::string n = prompt_tokens(), total = std::to_string(std::stoi(n) + 3);
  EXPECT_EQ(
      body,
      R"({"id":"chatcmpl-x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":)"
      R"({"role":"assistant","content":"ab","refusal":null,"annotations":null,"audio":null,"function_call":null,)"
      R"("tool_calls":[],"reasoning_content":null},"logprobs":null,"finish_reason":"stop","stop_reason":null,)"
      R"("token_ids":null}],"service_tier":null,"system_fingerprint":null,"usage":{"prompt_tokens":)" +
          n + R"(,"total_tokens":)" + total +
          R"(,"completion_tokens":3,"prompt_tokens_details":null},)"
          R"("prompt_logprobs":null,"prompt_token_ids":null,"kv_transfer_params":null})");
}

TEST_F(Replies, a_streamed_chat_opens_with_the_role) {
  harness_.say_ids({id("a"), 4072});
  const auto events =
      harness_.events_of(kChat, "{" + kHi + R"(,"stream":true,"stream_options":{"include_usage":true}})");
  const std::string head =
      R"(data: {"id":"chatcmpl-x","object":"chat.completion.chunk","created":1,"model":"m","choices":[)";
  const std::string n = prompt_tokens(), total = std::to_string(std::stoi(n) + 2);
  const std::vector<std::string> expected = {
      head + R"({"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],)"
             R"("prompt_token_ids":null})"
             "\n\n",
      head + R"({"index":0,"delta":{"content":"a"},"logprobs":null,"finish_reason":null,"token_ids":null}]})"
             "\n\n",
      head + R"({"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null,)"
             R"("token_ids":null}]})"
             "\n\n",
      head + R"(],"usage":{"prompt_tokens":)" + n + R"(,"total_tokens":)" + total +
          R"(,"completion_tokens":2}})"
          "\n\n",
      "data: [DONE]\n\n"};
  EXPECT_EQ(events, expected);
}

TEST_F(Replies, continuous_usage_in_chat_stands_before_prompt_token_ids) {
  harness_.say("a");
  const auto events = harness_.events_of(
      kChat, "{" + kHi + R"(,"stream":true,"stream_options":{"continuous_usage_stats":true}})");
  const std::string n = prompt_tokens();
  EXPECT_NE(events.at(0).find(R"(}],"usage":{"prompt_tokens":)" + n + R"(,"total_tokens":)" + n +
                              R"(,"completion_tokens":0},"prompt_token_ids":null})"),
            std::string::npos)
      << events[0];
}

TEST_F(Replies, indices_count_prompts_then_choices_and_usage_sums_all) {
  harness_.say_ids({id("a")});
  const Json body =
      Json::parse(harness_.body_of(kCompletions, R"({"prompt":[[5],[6,7]],"n":2,"temperature":1,"seed":9})"));
  ASSERT_EQ(body["choices"].size(), 4u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(body["choices"][i]["index"], i);
  EXPECT_EQ(body["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(body["usage"]["completion_tokens"], 4);
  EXPECT_EQ(harness_.engine->requests[2].prompt, (std::vector<int32_t>{6, 7}));
  EXPECT_EQ(harness_.engine->requests[0].params->seed, 9u);
  EXPECT_EQ(harness_.engine->requests[1].params->seed, 10u);
  harness_.engine->requests.clear();
  harness_.body_of(kCompletions, R"({"prompt":["a","b"],"seed":-1})");
  EXPECT_NE(harness_.engine->requests[0].params->seed, harness_.engine->requests[1].params->seed);
}

TEST_F(Replies, a_stop_string_cuts_the_text_and_tells_the_engine) {
  harness_.say_ids({id("a"), id("b"), id("c"), id("d")}, engine::FinishReason::kLength);
  const Json body = Json::parse(harness_.body_of(kCompletions, R"({"prompt":[5],"stop":["bc","x"]})"));
  EXPECT_EQ(body["choices"][0]["text"], "a");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(body["choices"][0]["stop_reason"], "bc");
  EXPECT_EQ(body["usage"]["completion_tokens"], 3);
  EXPECT_EQ(harness_.engine->stopped, (std::vector<engine::RequestId>{1}));
  EXPECT_TRUE(harness_.engine->cancelled.empty());
  const Json kept = Json::parse(
      harness_.body_of(kCompletions, R"({"prompt":[5],"stop":"bc","include_stop_str_in_output":true})"));
  EXPECT_EQ(kept["choices"][0]["text"], "abc");
}

TEST_F(Replies, a_stop_string_is_never_streamed_even_in_part) {
  harness_.say_ids({id("a"), id("b"), id("c"), id("d")}, engine::FinishReason::kLength);
  std::string text;
  for (const std::string& event :
       harness_.events_of(kCompletions, R"({"prompt":[5],"stop":"cd","stream":true})")) {
    if (event == "data: [DONE]\n\n") continue;
    text += Json::parse(event.substr(6))["choices"][0]["text"].get<std::string>();
  }
  EXPECT_EQ(text, "ab");
}

TEST_F(Replies, a_stop_token_is_the_reason_but_eos_is_none) {
  harness_.say_ids({id("a"), id("b")}, engine::FinishReason::kStop, id("b"));
  const std::string request = R"({"prompt":[5],"stop_token_ids":[)" + std::to_string(id("b")) + "]}";
  const Json body = Json::parse(harness_.body_of(kCompletions, request));
  EXPECT_EQ(body["choices"][0]["text"], "a") << "the stop token's own text is not part of the answer";
  EXPECT_EQ(body["choices"][0]["stop_reason"], id("b"));
  EXPECT_EQ(body["usage"]["completion_tokens"], 2);
}

TEST_F(Replies, echo_puts_the_prompt_before_the_answer) {
  harness_.say_ids({id("c")}, engine::FinishReason::kLength);
  const Json body = Json::parse(harness_.body_of(kCompletions, R"({"prompt":"ab","echo":true})"));
  EXPECT_EQ(body["choices"][0]["text"], "abc");
  const Json only =
      Json::parse(harness_.body_of(kCompletions, R"({"prompt":"ab","echo":true,"max_tokens":0})"));
  EXPECT_EQ(only["choices"][0]["text"], "ab");
  EXPECT_EQ(only["usage"]["completion_tokens"], 1);
  EXPECT_EQ(harness_.engine->requests.back().params->max_tokens, 1);
  std::string streamed;
  for (const std::string& event :
       harness_.events_of(kCompletions, R"({"prompt":"ab","echo":true,"stream":true})")) {
    if (event != "data: [DONE]\n\n")
      streamed += Json::parse(event.substr(6))["choices"][0]["text"].get<std::string>();
  }
  EXPECT_EQ(streamed, "abc");
}

TEST_F(Replies, loglikelihood_requests_get_equal_floats_in_list_and_map) {
  harness_.say_ids({id("c")}, engine::FinishReason::kLength);
  const Json body = Json::parse(harness_.body_of(
      kCompletions,
      R"({"prompt":[[40,41,42]],"temperature":0,"max_tokens":1,"logprobs":1,"seed":1234,"echo":true})"));
  const Json& logprobs = body["choices"][0]["logprobs"];
  ASSERT_EQ(logprobs["tokens"].size(), 4u) << "prompt and one more";
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  for (int i = 1; i < 4; ++i) {
    const std::string token = logprobs["tokens"][i];
    EXPECT_EQ(logprobs["top_logprobs"][i][token], logprobs["token_logprobs"][i]);
  }
  EXPECT_EQ(logprobs["top_logprobs"][1].size(), 2u) << "the prompt's token and the best one";
  EXPECT_TRUE(body["choices"][0]["prompt_logprobs"].is_array());
  EXPECT_TRUE(body["choices"][0]["prompt_logprobs"][0].is_null());
  EXPECT_EQ(body["choices"][0]["prompt_logprobs"][1]["41"]["rank"], 3);
  EXPECT_EQ(body["choices"][0]["prompt_logprobs"][1]["7"]["logprob"], -0.25);
}

TEST_F(Replies, completion_logprobs_are_vllms_to_the_byte) {
  harness_.say_ids({id("a"), id("b")}, engine::FinishReason::kLength);
  const std::string body = harness_.body_of(kCompletions, R"({"prompt":[5],"logprobs":1})");
  EXPECT_NE(body.find(R"("logprobs":{"text_offset":[0,1],"token_logprobs":[-0.5,-0.5],"tokens":["a","b"],)"
                      R"("top_logprobs":[{"a":-0.5},{"b":-0.5}]})"),
            std::string::npos)
      << body;
  const std::string zero = harness_.body_of(kCompletions, R"({"prompt":[5],"logprobs":0})");
  EXPECT_NE(zero.find(R"("top_logprobs":[{"a":-0.5},{"b":-0.5}])"), std::string::npos);
  const std::string ids =
      harness_.body_of(kCompletions, R"({"prompt":[5],"logprobs":0,"return_tokens_as_token_ids":true})");
  EXPECT_NE(ids.find("\"tokens\":[\"token_id:" + std::to_string(id("a"))), std::string::npos);
}

TEST_F(Replies, streamed_text_offsets_go_on_from_what_was_sent) {
  harness_.say_ids({id("a"), id("b")}, engine::FinishReason::kLength);
  const auto events = harness_.events_of(kCompletions, R"({"prompt":[5],"logprobs":1,"stream":true})");
  EXPECT_NE(events[0].find(R"("text_offset":[0])"), std::string::npos);
  EXPECT_NE(events[1].find(R"("text_offset":[1])"), std::string::npos);
}

TEST_F(Replies, minus_infinity_is_printed_as_a_number) {
  harness_.engine->script = [&](const engine::Request&) {
    engine::Output output;
    output.tokens.push_back({id("a"), true, {{id("a"), -std::numeric_limits<float>::infinity(), 9}, {}}});
    output.finish_reason = engine::FinishReason::kLength;
    return std::vector<engine::Output>{output};
  };
  EXPECT_NE(harness_.body_of(kCompletions, R"({"prompt":[5],"logprobs":0})").find("[-9999.0]"),
            std::string::npos);
}

TEST_F(Replies, chat_logprobs_are_vllms_to_the_byte) {
  harness_.say_ids({id("a")}, engine::FinishReason::kLength);
  const std::string one = harness_.body_of(kChat, "{" + kHi + R"(,"logprobs":true,"top_logprobs":1})");
  EXPECT_NE(one.find(R"("logprobs":{"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":)"
                     R"([{"token":"a","logprob":-0.5,"bytes":[97]}]}]})"),
            std::string::npos)
      << one;
  const std::string none = harness_.body_of(kChat, "{" + kHi + R"(,"logprobs":true})");
  EXPECT_NE(none.find(R"("bytes":[97],"top_logprobs":[]}]})"), std::string::npos) << none;
}

TEST_F(Replies, token_ids_come_when_asked_for) {
  harness_.say_ids({id("a"), id("b")}, engine::FinishReason::kLength);
  const Json body =
      Json::parse(harness_.body_of(kCompletions, R"({"prompt":[5,6],"return_token_ids":true})"));
  EXPECT_EQ(body["choices"][0]["token_ids"], Json({id("a"), id("b")}));
  EXPECT_EQ(body["choices"][0]["prompt_token_ids"], Json({5, 6}));
  const auto events =
      harness_.events_of(kCompletions, R"({"prompt":[5,6],"return_token_ids":true,"stream":true})");
  EXPECT_NE(events[0].find("\"prompt_token_ids\":[5,6],\"token_ids\":[" + std::to_string(id("a")) + "]"),
            std::string::npos);
  EXPECT_NE(events[1].find("\"prompt_token_ids\":null"), std::string::npos);
}

TEST_F(Replies, tool_calls_are_found_whole_and_streamed) {
  harness_.service.options.enable_auto_tool_choice = true;
  harness_.service.options.tool_format = chat::ToolFormat::kPythonic;
  harness_.say("[get_weather(city=\"Paris\")]");
  const std::string request =
      "{" + kHi + R"(,"tools":[{"type":"function","function":{"name":"get_weather"}}])";
  const Json body = Json::parse(harness_.body_of(kChat, request + "}"));
  const Json& message = body["choices"][0]["message"];
  EXPECT_TRUE(message["content"].is_null());
  EXPECT_EQ(body["choices"][0]["finish_reason"], "tool_calls");
  ASSERT_EQ(message["tool_calls"].size(), 1u);
  EXPECT_EQ(message["tool_calls"][0]["function"]["name"], "get_weather");
  EXPECT_EQ(message["tool_calls"][0]["function"]["arguments"], R"({"city": "Paris"})");
  EXPECT_EQ(message["tool_calls"][0]["id"].get<std::string>().substr(0, 14), "chatcmpl-tool-");

  std::string arguments, name, reason;
  for (const std::string& event : harness_.events_of(kChat, request + R"(,"stream":true})")) {
    if (event == "data: [DONE]\n\n") continue;
    // Several events may share the write that opens the stream.
    const Json choice = Json::parse(event.substr(6))["choices"][0];
    if (choice["finish_reason"].is_string()) reason = choice["finish_reason"];
    if (!choice["delta"].contains("tool_calls")) continue;
    const Json& function = choice["delta"]["tool_calls"][0]["function"];
    if (function.contains("name")) name += function["name"].get<std::string>();
    if (function.contains("arguments")) arguments += function["arguments"].get<std::string>();
  }
  EXPECT_EQ(name, "get_weather");
  EXPECT_EQ(arguments, R"({"city": "Paris"})");
  EXPECT_EQ(reason, "tool_calls");
}

TEST_F(Replies, without_parallel_tool_calls_only_the_first_is_passed_on) {
  harness_.service.options.enable_auto_tool_choice = true;
  harness_.service.options.tool_format = chat::ToolFormat::kPythonic;
  harness_.say("[f(), g()]");
  const std::string request = "{" + kHi + R"(,"tools":[{"type":"function","function":{"name":"f"}}])";
  const auto names = [&](const std::string& more) {
    std::string found;
    const Json body = Json::parse(harness_.body_of(kChat, request + more + "}"));
    for (const Json& call : body["choices"][0]["message"]["tool_calls"]) {
      found += call["function"]["name"].get<std::string>() + " ";
    }
    for (const std::string& event : harness_.events_of(kChat, request + more + R"(,"stream":true})")) {
      if (event == "data: [DONE]\n\n") continue;
      const Json choice = Json::parse(event.substr(6))["choices"][0];
      for (const Json& call : choice["delta"].value("tool_calls", Json::array())) {
        found += call["function"].value("name", "") + " ";
      }
    }
    return found;
  };
  EXPECT_EQ(names(""), "f g f g ");
  EXPECT_EQ(names(R"(,"parallel_tool_calls":true)"), "f g f g ");
  EXPECT_EQ(names(R"(,"parallel_tool_calls":false)"), "f f ");
}

TEST_F(Replies, text_without_a_call_stays_text_when_tools_are_offered) {
  harness_.service.options.enable_auto_tool_choice = true;
  harness_.service.options.tool_format = chat::ToolFormat::kPythonic;
  harness_.say("It is sunny.");
  const std::string tools = R"(,"tools":[{"type":"function","function":{"name":"f"}}])";
  const Json body = Json::parse(harness_.body_of(kChat, "{" + kHi + tools + "}"));
  EXPECT_EQ(body["choices"][0]["message"]["content"], "It is sunny.");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(harness_.post(kChat, "{" + kHi + tools + R"(,"tool_choice":"none"})")->response.status, 200);
}

TEST_F(Replies, cached_tokens_are_shown_only_when_asked_and_found) {
  harness_.service.options.enable_prompt_tokens_details = true;
  harness_.engine->script = [&](const engine::Request&) {
    engine::Output output;
    output.tokens.push_back({id("a")});
    output.num_cached_tokens = 2;
    output.finish_reason = engine::FinishReason::kLength;
    return std::vector<engine::Output>{output};
  };
  EXPECT_NE(harness_.body_of(kCompletions, R"({"prompt":[5,6,7]})")
                .find(R"("prompt_tokens_details":{"cached_tokens":2}})"),
            std::string::npos);
}

TEST_F(Replies, an_engine_failure_is_a_500_or_an_event) {
  harness_.engine->script = [](const engine::Request&) {
    engine::Output output;
    output.finish_reason = engine::FinishReason::kError;
    output.error = "device lost";
    return std::vector<engine::Output>{output};
  };
  EXPECT_EQ(harness_.message_of(kCompletions, R"({"prompt":[5]})", 500), "device lost");
  const auto events = harness_.events_of(kCompletions, R"({"prompt":[5],"stream":true})");
  EXPECT_NE(events.at(0).find("device lost"), std::string::npos);
  EXPECT_EQ(events.back(), "data: [DONE]\n\n");
}

TEST_F(Replies, a_disconnect_cancels_every_running_choice_and_nothing_is_answered) {
  const auto reply = harness_.post(kCompletions, R"({"prompt":[[5],[6]],"stream":true})");
  ASSERT_TRUE(reply->disconnect);
  reply->disconnect();
  EXPECT_EQ(harness_.engine->cancelled, (std::vector<engine::RequestId>{1, 2}));
  engine::Output late;
  late.tokens.push_back({id("a")});
  harness_.engine->requests[0].sink(late);
  reply->run();
  EXPECT_TRUE(reply->writes.empty());
}

TEST_F(Replies, half_characters_wait_for_their_other_half) {
  harness_.say("é😀", engine::FinishReason::kLength);
  std::string text;
  for (const std::string& event : harness_.events_of(kCompletions, R"({"prompt":[5],"stream":true})")) {
    if (event == "data: [DONE]\n\n") continue;
    EXPECT_TRUE(is_valid_utf8(event));
    EXPECT_EQ(event.find("\uFFFD"), std::string::npos);
    text += Json::parse(event.substr(6))["choices"][0]["text"].get<std::string>();
  }
  EXPECT_EQ(text, "é😀");
}

TEST_F(Replies, an_event_waits_for_the_tokens_of_the_stream_interval) {
  harness_.service.options.stream_interval = 3;
  harness_.say_ids(std::vector<int32_t>(8, id("a")), engine::FinishReason::kLength);
  const auto events = harness_.events_of(kCompletions, R"({"prompt":"x","max_tokens":8,"stream":true})");
  std::vector<std::string> texts;
  for (const std::string& event : events) {
    const Json json = Json::parse(event.substr(6), nullptr, false);
    if (json.is_object()) texts.push_back(json["choices"][0]["text"]);
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"a", "aaa", "aaa", "a"}));
}

TEST_F(Replies, a_full_queue_is_a_503_that_says_when_to_try_again) {
  harness_.service.admission.set_limits(4, std::nullopt);
  harness_.engine->script = [](const engine::Request&) { return std::vector<engine::Output>(); };
  harness_.post(kCompletions, R"({"prompt":"x","n":2,"temperature":1})");
  const auto refused = harness_.post(kCompletions, R"({"prompt":["x","y"],"n":2,"temperature":1})");
  EXPECT_EQ(refused->response.status, 503);
  EXPECT_EQ(refused->response.headers, (Headers{{"retry-after", "1"}}));
  harness_.say("a");
  EXPECT_EQ(harness_.post(kCompletions, R"({"prompt":"x","n":2,"temperature":1})")->response.status, 200);
  EXPECT_EQ(harness_.post(kCompletions, R"({"prompt":"x","n":2,"temperature":1})")->response.status, 200);
}

TEST_F(Replies, request_ids_come_from_header_then_body_then_chance) {
  harness_.say("a");
  const auto id_of = [&](const std::string& body, Headers headers) {
    headers.emplace_back("content-type", "application/json");
    return Json::parse(harness_.call("POST", kCompletions, body, headers)->response.body)["id"]
        .get<std::string>();
  };
  EXPECT_EQ(id_of(R"({"prompt":"a","request_id":"r"})", {{"x-request-id", "h"}}), "cmpl-h");
  EXPECT_EQ(id_of(R"({"prompt":"a","request_id":"r"})", {}), "cmpl-r");
  EXPECT_EQ(id_of(R"({"prompt":"a"})", {}).size(), 5u + 32u);
  EXPECT_EQ(id_of(R"({"prompt":"a"})", {{"x-request-id", "\xFF\""}}), "cmpl-\uFFFD\"");
}

}  // namespace
}  // namespace outrider::server

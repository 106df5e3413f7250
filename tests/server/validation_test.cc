// One row for each text of the reference's sections 2 and 4.
#include <gtest/gtest.h>

#include "base/python_repr.h"
#include "server/harness.h"
#include "server/json_text.h"

namespace outrider::server {
namespace {

struct Row {
  const char* field;  // put into an otherwise good body
  const char* message;
};

std::string value_error(const std::string& body, const std::string& text) {
  return "[{'type': 'value_error', 'loc': ('body',), 'msg': " + python_repr(Json("Value error, " + text)) +
         ", 'input': " + python_repr(Json::parse(body)) + ", 'ctx': {'error': ValueError(" +
         python_repr(Json(text)) + ")}}]";
}

class Validation : public testing::Test {
 protected:
  void SetUp() override { harness_.say("a"); }
  Harness harness_;
};

TEST_F(Validation, sampling_values_out_of_range_are_refused_with_vllms_texts) {
  const Row rows[] = {
      {R"("temperature":-1)", "temperature must be non-negative, got -1.0."},
      {R"("top_p":0)", "top_p must be in (0, 1], got 0.0."},
      {R"("top_p":1.5)", "top_p must be in (0, 1], got 1.5."},
      {R"("top_k":-2)", "top_k must be 0 (disable), or at least 1, got -2."},
      {R"("min_p":2)", "min_p must be in [0, 1], got 2.0."},
      {R"("presence_penalty":3)", "presence_penalty must be in [-2, 2], got 3.0."},
      {R"("frequency_penalty":-3)", "frequency_penalty must be in [-2, 2], got -3.0."},
      {R"("repetition_penalty":0)", "repetition_penalty must be greater than zero, got 0.0."},
      {R"("max_tokens":0)", "max_tokens must be at least 1, got 0."},
      {R"("max_tokens":-9223372036854775808)", "max_tokens must be at least 1, got -9223372036854775808."},
      {R"("min_tokens":-1)", "min_tokens must be greater than or equal to 0, got -1."},
      {R"("max_tokens":5,"min_tokens":6)", "min_tokens must be less than or equal to max_tokens=5, got 6."},
      {R"("n":0)", "n must be at least 1, got 0."},
      {R"("n":-5)", "n must be at least 1, got -5."},
      {R"("n":1e18)", "n must be at most 128, got 1000000000000000000."},
      {R"("n":2,"temperature":0)", "n must be 1 when using greedy sampling, got 2."},
      {R"("n":3,"best_of":2)", "best_of must be greater than or equal to n, got n=3 and best_of=2."},
      {R"("best_of":2)", "vLLM V1 does not yet support best_of."},
      {R"("stop":["a",""])", "stop cannot contain an empty string."},
      {R"("logprobs":25)", "Requested sample logprobs of 25, which is is greater than max allowed: 20"},
      {R"("prompt_logprobs":25)",
       "Requested prompt logprobs of 25, which is is greater than max allowed: 20"},
      {R"("logit_bias":{"x":1})", "invalid literal for int() with base 10: 'x'"},
      {R"("logit_bias":{"999999":1})",
       "token_id(s) [999999] in logit_bias contain out-of-vocab token ids. Vocabulary size: 4096"},
      {R"("logit_bias":{"-1":1,"5":1,"99999999999999999999":1})",
       "token_id(s) [-1, 99999999999999999999] in logit_bias contain out-of-vocab token ids. Vocabulary "
       "size: 4096"},
      {R"("allowed_token_ids":[])", "allowed_token_ids is not None and empty!"},
      {R"("allowed_token_ids":[1,-1])", "allowed_token_ids contains out-of-vocab token id!"},
      {R"("suffix":"x")", "suffix is not currently supported"},
      {R"("guided_json":7)", "`guided_json` must be a JSON schema: an object, or its text."},
      {R"("guided_regex":"")", "`guided_regex` cannot be empty."},
      {R"("guided_choice":["a",1])", "`guided_choice` must be a list of 1 to 4096 strings."},
      {R"("guided_json":{},"guided_grammar":"root ::= \"a\"")",
       "You can only use one kind of structured outputs constraint: `guided_json` and `guided_grammar` are "
       "both set."},
      {R"("response_format":{"type":"json_object"},"structured_outputs":{"regex":"a"})",
       "You can only use one kind of structured outputs constraint: `response_format` and "
       "`structured_outputs.regex` are "
       "both set."},
      {R"("structured_outputs":{"regexp":"a"})", "`structured_outputs.regexp` is not supported."},
      {R"("structured_outputs":{"json_object":1})",
       "`structured_outputs.json_object` must be true or false."},
      {R"("structured_outputs":{"structural_tag":"{"})",
       "`structured_outputs.structural_tag` is not valid JSON."},
      {R"("guided_decoding_backend":"outlines")",
       "Request-level structured output backend selection is no longer supported."},
      {R"("guided_whitespace_pattern":" ")",
       "`guided_whitespace_pattern` is not supported; white space is free, see disable_any_whitespace."},
      {R"("response_format":{"type":"json_schema"})",
       "`response_format` of type 'json_schema' needs `json_schema.schema`."},
      {R"("response_format":{"type":"xml"})",
       "`response_format` of type 'xml' is not supported; use text, json_object, json_schema or "
       "structural_tag."},
      {R"("use_beam_search":true)", "`use_beam_search` is not supported yet."},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(harness_.message_of(kCompletions, completion(row.field)), row.message) << row.field;
  }
  EXPECT_TRUE(harness_.engine->requests.empty());
}

TEST_F(Validation, wrong_field_types_give_pythons_list) {
  const auto one = [](const std::string& type, const std::string& place, const std::string& text,
                      const std::string& input) {
    return "[{'type': '" + type + "', 'loc': ('body', " + place + "), 'msg': '" + text +
           "', 'input': " + input + "}]";
  };
  const struct {
    const char* field;
    std::string message;
  } rows[] = {
      {R"("temperature":"hot")",
       one("float_parsing", "'temperature'",
           "Input should be a valid number, unable to parse string as a number", "'hot'")},
      {R"("temperature":[])", one("float_type", "'temperature'", "Input should be a valid number", "[]")},
      {R"("temperature":"nan")",
       one("finite_number", "'temperature'", "Input should be a finite number", "'nan'")},
      {R"("n":10.5)", one("int_from_float", "'n'",
                          "Input should be a valid integer, got a number with a fractional part", "10.5")},
      {R"("n":"x")", one("int_parsing", "'n'",
                         "Input should be a valid integer, unable to parse string as an integer", "'x'")},
      {R"("n":{})", one("int_type", "'n'", "Input should be a valid integer", "{}")},
      {R"("stream":"maybe")", one("bool_parsing", "'stream'",
                                  "Input should be a valid boolean, unable to interpret input", "'maybe'")},
      {R"("stream":[])", one("bool_type", "'stream'", "Input should be a valid boolean", "[]")},
      {R"("model":1)", one("string_type", "'model'", "Input should be a valid string", "1")},
      {R"("stop_token_ids":1)", one("list_type", "'stop_token_ids'", "Input should be a valid list", "1")},
      {R"("stop_token_ids":["x"])",
       one("int_parsing", "'stop_token_ids', 0",
           "Input should be a valid integer, unable to parse string as an integer", "'x'")},
      {R"("logit_bias":[])", one("dict_type", "'logit_bias'", "Input should be a valid dictionary", "[]")},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(harness_.message_of(kCompletions, completion(row.field)), row.message) << row.field;
  }
  EXPECT_EQ(
      harness_.message_of(kCompletions, completion(R"("seed":9223372036854775808)")),
      "[{'type': 'less_than_equal', 'loc': ('body', 'seed'), 'msg': 'Input should be less than or equal to "
      "9223372036854775807', 'input': 9223372036854775808, 'ctx': {'le': 9223372036854775807}}]");
}

TEST_F(Validation, values_of_near_types_are_taken_as_pydantic_takes_them) {
  const auto reply = harness_.post(
      kCompletions,
      completion(
          R"("temperature":"0.5","max_tokens":"10","top_k":7.0,"ignore_eos":"true","seed":true,"logprobs":true)"));
  ASSERT_EQ(reply->response.status, 200) << reply->response.body;
  const sampling::SamplingParams& params = *harness_.engine->requests.at(0).params;
  EXPECT_EQ(params.temperature, 0.5);
  EXPECT_EQ(params.max_tokens, 10);
  EXPECT_EQ(params.top_k, 7);
  EXPECT_TRUE(params.ignore_eos);
  EXPECT_EQ(params.seed, 1u);
  EXPECT_EQ(params.logprobs, 1);
}

TEST_F(Validation, null_equals_absent_for_every_field) {
  std::string body = R"({"prompt":"hi")";
  for (const char* name : {"model",
                           "n",
                           "best_of",
                           "echo",
                           "frequency_penalty",
                           "logit_bias",
                           "logprobs",
                           "seed",
                           "stop",
                           "stream",
                           "stream_options",
                           "suffix",
                           "temperature",
                           "top_p",
                           "top_k",
                           "min_p",
                           "user",
                           "stop_token_ids",
                           "ignore_eos",
                           "min_tokens",
                           "skip_special_tokens",
                           "truncate_prompt_tokens",
                           "allowed_token_ids",
                           "prompt_logprobs",
                           "add_special_tokens",
                           "response_format",
                           "guided_json",
                           "priority",
                           "request_id",
                           "cache_salt"}) {
    body += std::string(",\"") + name + "\":null";
  }
  EXPECT_EQ(harness_.post(kCompletions, body + "}")->response.status, 200);
}

TEST_F(Validation, unknown_fields_are_ignored) {
  EXPECT_EQ(
      harness_.post(kCompletions, completion(R"("do_sample":true,"metadata":{"a":[1]})"))->response.status,
      200);
}

TEST_F(Validation, rules_between_fields_quote_the_body) {
  const Row rows[] = {
      {R"("stream_options":{})", "Stream options can only be defined when `stream=True`."},
      {R"("logprobs":-1)", "`logprobs` must be a positive value."},
      {R"("prompt_logprobs":1,"stream":true)", "`prompt_logprobs` are not available when `stream=True`."},
      {R"("prompt_logprobs":-1)", "`prompt_logprobs` must be a positive value."},
      {R"("guided_json":{},"guided_regex":"a")",
       "You can only use one kind of guided decoding ('guided_json', 'guided_regex' or 'guided_choice')."},
      {R"("cache_salt":"")", "Parameter 'cache_salt' must be a non-empty string if provided."},
  };
  for (const Row& row : rows) {
    const std::string body = completion(row.field);
    EXPECT_EQ(harness_.message_of(kCompletions, body), value_error(body, row.message));
  }
  for (const char* prompt : {R"({"prompt":""})", R"({"prompt":[]})", R"({"prompt":null})", "{}"}) {
    EXPECT_EQ(harness_.message_of(kCompletions, prompt),
              value_error(prompt, "Either prompt or prompt_embeds must be provided and non-empty."));
  }
}

TEST_F(Validation, rules_between_fields_of_chats_are_named) {
  const char* tools = R"("tools":[{"type":"function","function":{"name":"f","parameters":{}}}])";
  const struct {
    std::string field;
    const char* message;
  } rows[] = {
      {R"("top_logprobs":-1)", "`top_logprobs` must be a positive value."},
      {R"("top_logprobs":2)", "when using `top_logprobs`, `logprobs` must be set to true."},
      {R"("tool_choice":"auto")", "When using `tool_choice`, `tools` must be set."},
      {R"("tool_choice":"x",)" + std::string(tools),
       "Invalid value for `tool_choice`: x! Only named tools, \"none\", \"auto\" or \"required\" are "
       "supported."},
      {R"("tool_choice":{"type":"function","function":{"name":"g"}},)" + std::string(tools),
       "The tool specified in `tool_choice` does not match any of the specified `tools`"},
      {R"("continue_final_message":true,"add_generation_prompt":true)",
       "Cannot set both `continue_final_message` and `add_generation_prompt` to True."},
  };
  for (const auto& row : rows) {
    const std::string body = chat(row.field);
    EXPECT_EQ(harness_.message_of(kChat, body), value_error(body, row.message));
  }
  EXPECT_EQ(harness_.message_of(kChat, chat(tools)),
            "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set");
  EXPECT_EQ(harness_.message_of(kChat, "{}"),
            "[{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required', 'input': {}}]");
  EXPECT_EQ(harness_.message_of(kChat, R"({"messages":[{"content":"x"}]})"),
            "[{'type': 'missing', 'loc': ('body', 'messages', 0, 'role'), 'msg': 'Field required', 'input': "
            "{'content': 'x'}}]");
  EXPECT_EQ(harness_.post(kChat, R"({"messages":[]})")->response.status, 400);
}

TEST_F(Validation, malformed_chat_parts_are_errors_not_crashes) {
  for (const char* body :
       {R"({"messages":"x"})", R"({"messages":[1]})", R"({"messages":[{"role":5}]})",
        R"({"messages":[{"role":"user","content":5}]})",
        R"({"messages":[{"role":"user","content":[{"type":"audio"}]}]})",
        R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]})",
        R"({"messages":[{"role":"user","content":"x"}],"tools":5})",
        R"({"messages":[{"role":"user","content":"x"}],"tools":[5]})",
        R"({"messages":[{"role":"user","content":"x"}],"tools":[{"function":{}}]})",
        R"({"messages":[{"role":"user","content":"x"}],"tool_choice":7,"tools":[{"function":{"name":"f"}}]})",
        R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{"}}]}]})",
        R"({"messages":[{"role":"user","content":"x"}],"chat_template":"{{ x }}"})",
        R"({"messages":[{"role":"user","content":"x"}],"chat_template_kwargs":[]})"}) {
    EXPECT_EQ(harness_.post(kChat, body)->response.status, 400) << body;
  }
}

TEST_F(Validation, prompts_that_leave_no_room_are_refused_with_the_room_they_have) {
  const std::string ids_85 = "[" + [] {
    std::string list = "5";
    for (int i = 1; i < 85; ++i) list += ",5";
    return list;
  }() + "]";
  EXPECT_EQ(harness_.message_of(kCompletions, R"({"prompt":)" + ids_85 + "}"),
            "This maximum context length is 84 tokens. However, your request has 85 input tokens. Please "
            "reduce the "
            "length of the input messages.");
  EXPECT_EQ(harness_.post(kCompletions, R"({"max_tokens":15,"prompt":)" + ids_85 + "}")->response.status,
            200);
  std::string ids_101 = "[5";
  for (int i = 0; i < 100; ++i) ids_101 += ",5";
  EXPECT_EQ(harness_.message_of(kCompletions, R"({"max_tokens":null,"prompt":)" + ids_101 + "]}"),
            "This maximum context length is 99 tokens. However, your request has 101 input tokens. Please "
            "reduce the "
            "length of the input messages.");
  EXPECT_EQ(
      harness_.message_of(kCompletions, completion(R"("max_tokens":9223372036854775807)")).substr(0, 31),
      "This maximum context length is ");
}

TEST_F(Validation, max_tokens_null_takes_what_the_context_leaves) {
  harness_.post(kCompletions, R"({"prompt":[5,6,7],"max_tokens":null})");
  EXPECT_EQ(harness_.engine->requests.at(0).params->max_tokens, 97);
  harness_.service.options.defaults.max_new_tokens = 12;
  harness_.post(kCompletions, R"({"prompt":[5,6,7],"max_tokens":null})");
  EXPECT_EQ(harness_.engine->requests.at(1).params->max_tokens, 12);
}

TEST_F(Validation, chat_lengths_are_checked_against_the_context) {
  const auto count = [&](const std::string& body) {
    harness_.post(kChat, body);
    return static_cast<int64_t>(harness_.engine->requests.back().prompt.size());
  };
  const std::string n = std::to_string(count(chat(R"("max_tokens":1)")));
  EXPECT_EQ(
      harness_.message_of(kChat, chat(R"("max_completion_tokens":100)")),
      "'max_tokens' or 'max_completion_tokens' is too large: 100. This model's maximum context length is 100 "
      "tokens and your request has " +
          n + " input tokens (100 > 100 - " + n + "). None");
  std::string text;
  for (int i = 0; i < 200; ++i) text += "word ";
  const std::string message =
      harness_.message_of(kChat, R"({"messages":[{"role":"user","content":")" + text + "\"}]}");
  EXPECT_EQ(message.substr(0, 81),
            "This model's maximum context length is 100 tokens. However, your request has " +
                message.substr(77, 4));
  EXPECT_NE(message.find("Please reduce the length of the input messages. None"), std::string::npos);
  EXPECT_EQ(harness_.message_of(kChat, chat(R"("max_tokens":-1)")), "max_tokens must be at least 1, got -1.");
}

TEST_F(Validation, token_ids_outside_the_vocabulary_are_refused) {
  EXPECT_EQ(harness_.message_of(kCompletions, R"({"prompt":[5,4096]})"),
            "Token id 4096 is out of vocabulary");
  EXPECT_EQ(harness_.message_of(kCompletions, R"({"prompt":[[5],[-1]]})"),
            "Token id -1 is out of vocabulary");
  EXPECT_EQ(harness_.message_of(kCompletions, R"({"prompt":[99999999999999999999]})"),
            "Token id 9223372036854775807 is out of vocabulary");
  EXPECT_EQ(harness_.message_of("/detokenize", R"({"tokens":[-5]})"), "Token id -5 is out of vocabulary");
  EXPECT_EQ(harness_.post(kCompletions, R"({"prompt":[5,"x"]})")->response.status, 400);
  EXPECT_EQ(harness_.post(kCompletions, R"({"prompt":["x",5]})")->response.status, 400);
  EXPECT_EQ(harness_.post(kCompletions, R"({"prompt":{"x":5}})")->response.status, 400);
  EXPECT_EQ(harness_.post(kCompletions, R"({"prompt":[[]]})")->response.status, 400);
}

TEST_F(Validation, every_number_field_survives_extreme_values) {
  const char* values[] = {"-1",
                          "0",
                          "1e308",
                          "-1e308",
                          "9223372036854775807",
                          "-9223372036854775808",
                          "18446744073709551615",
                          "1e-320",
                          "4294967296",
                          "\"inf\"",
                          "\"-1\"",
                          "[]",
                          "{}",
                          "true"};
  for (const char* name : {"n",
                           "best_of",
                           "max_tokens",
                           "min_tokens",
                           "seed",
                           "top_k",
                           "priority",
                           "prompt_logprobs",
                           "truncate_prompt_tokens",
                           "temperature",
                           "top_p",
                           "min_p",
                           "repetition_penalty",
                           "presence_penalty",
                           "frequency_penalty",
                           "logprobs",
                           "stop",
                           "stop_token_ids",
                           "allowed_token_ids",
                           "logit_bias",
                           "stream_options",
                           "echo",
                           "max_completion_tokens",
                           "top_logprobs",
                           "tools",
                           "tool_choice",
                           "response_format"}) {
    for (const char* value : values) {
      const std::string field = std::string("\"") + name + "\":" + value;
      for (const bool is_chat : {false, true}) {
        const auto reply =
            is_chat ? harness_.post(kChat, chat(field)) : harness_.post(kCompletions, completion(field));
        EXPECT_TRUE(reply->response.status == 200 || reply->response.status == 400)
            << field << reply->response.body;
        EXPECT_TRUE(reply->ended) << field;
      }
    }
  }
}

TEST_F(Validation, caps_hold_for_what_a_request_can_multiply) {
  std::string stops = "\"a\"";
  for (int i = 0; i < 100; ++i) stops += ",\"a\"";
  EXPECT_EQ(harness_.message_of(kCompletions, completion("\"stop\":[" + stops + "]")),
            "stop must have at most 64 strings, got 101.");
  std::string prompts = "\"a\"";
  for (int i = 0; i < 3000; ++i) prompts += ",\"a\"";
  EXPECT_EQ(harness_.message_of(kCompletions, "{\"prompt\":[" + prompts + "]}"),
            "At most 2048 prompts and 4096 choices may be asked for in one request.");
  EXPECT_TRUE(harness_.engine->requests.empty());
}

TEST_F(Validation, truncation_keeps_the_last_tokens) {
  harness_.post(kCompletions, R"({"prompt":[5,6,7,8],"truncate_prompt_tokens":2})");
  EXPECT_EQ(harness_.engine->requests.at(0).prompt, (std::vector<int32_t>{7, 8}));
  EXPECT_EQ(harness_.message_of(kCompletions, R"({"prompt":[5],"truncate_prompt_tokens":90})"),
            "truncate_prompt_tokens (90) cannot be greater than max_length (84). Please select a smaller "
            "truncation "
            "size.");
  EXPECT_EQ(
      harness_.message_of(kCompletions, R"({"prompt":[5],"truncate_prompt_tokens":-2})"),
      "[{'type': 'greater_than_equal', 'loc': ('body', 'truncate_prompt_tokens'), 'msg': 'Input should be "
      "greater than or equal to -1', 'input': -2, 'ctx': {'ge': -1}}]");
}

TEST_F(Validation, unknown_models_are_404_and_missing_ones_are_fine) {
  const auto reply = harness_.post(kCompletions, completion(R"("model":"x")"));
  EXPECT_EQ(reply->response.status, 404);
  EXPECT_EQ(
      reply->response.body,
      R"({"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}})");
  for (const char* model : {R"("model":"")", R"("model":null)", R"("model":"alias")"}) {
    EXPECT_EQ(harness_.post(kCompletions, completion(model))->response.status, 200);
  }
}

TEST_F(Validation, bodies_that_are_not_json_by_their_type_are_refused) {
  for (const char* type : {"", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"}) {
    const auto reply = harness_.call("POST", kCompletions, R"({"prompt":"hi"})", {{"content-type", type}});
    EXPECT_EQ(reply->response.status, 400);
    EXPECT_EQ(reply->response.body,
              R"({"error":{"message":" [\"Unsupported Media Type: Only 'application/json' is allowed\"]",)"
              R"("type":"Bad Request","param":null,"code":400}})");
  }
  for (const char* type : {"application/json", "application/json; charset=utf-8", "Application/JSON ;x=y"}) {
    EXPECT_EQ(
        harness_.call("POST", kCompletions, R"({"prompt":"hi"})", {{"content-type", type}})->response.status,
        200);
  }
}

TEST_F(Validation, engine_rules_arrive_as_an_event_in_a_stream) {
  const auto events = harness_.events_of(kCompletions, completion(R"("stream":true,"logprobs":25)"));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0],
            "data: {\"error\": {\"message\": \"Requested sample logprobs of 25, which is is greater than max "
            "allowed: "
            "20\", \"type\": \"BadRequestError\", \"param\": null, \"code\": 400}}\n\n");
  EXPECT_EQ(events[1], "data: [DONE]\n\n");
  EXPECT_EQ(harness_.post(kCompletions, completion(R"("stream":true,"top_p":0)"))->response.status, 400);
}

TEST_F(Validation, greedy_requests_drop_what_would_disturb_them) {
  harness_.post(kCompletions, completion(R"("temperature":0,"top_p":0.5,"top_k":5,"min_p":0.1)"));
  const sampling::SamplingParams& greedy = *harness_.engine->requests.at(0).params;
  EXPECT_EQ(greedy.top_p, 1.0);
  EXPECT_EQ(greedy.top_k, 0);
  EXPECT_EQ(greedy.min_p, 0.0);
  harness_.post(kCompletions, completion(R"("temperature":0.001,"top_k":-1)"));
  EXPECT_EQ(harness_.engine->requests.at(1).params->temperature, 0.01);
  EXPECT_EQ(harness_.engine->requests.at(1).params->top_k, 0);
}

TEST_F(Validation, defaults_come_from_the_generation_config) {
  harness_.service.options.defaults.temperature = 0.6;
  harness_.service.options.defaults.top_p = 0.9;
  harness_.service.options.defaults.top_k = 40;
  harness_.post(kCompletions, completion(R"("top_k":3)"));
  const sampling::SamplingParams& params = *harness_.engine->requests.at(0).params;
  EXPECT_EQ(params.temperature, 0.6);
  EXPECT_EQ(params.top_p, 0.9);
  EXPECT_EQ(params.top_k, 3);
  EXPECT_EQ(params.max_tokens, 16);
}

TEST_F(Validation, eos_ids_other_than_the_tokenizers_act_as_stop_ids) {
  harness_.post(kCompletions, completion(R"("stop_token_ids":[7,-4,99999999])"));
  const sampling::SamplingParams& params = *harness_.engine->requests.at(0).params;
  EXPECT_EQ(params.eos_token_ids, (std::vector<int32_t>{4072}));
  EXPECT_EQ(params.stop_token_ids, (std::vector<int32_t>{7, 4065, 4071}));
  harness_.post(kCompletions, completion(R"("ignore_eos":true,"stop_token_ids":[7])"));
  EXPECT_TRUE(harness_.engine->requests.at(1).params->eos_token_ids.empty());
  EXPECT_EQ(harness_.engine->requests.at(1).params->stop_token_ids, (std::vector<int32_t>{7}));
}

}  // namespace
}  // namespace outrider::server

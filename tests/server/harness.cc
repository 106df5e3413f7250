#include "server/harness.h"

#include <gtest/gtest.h>

#include "server/json_text.h"

namespace outrider::server {

engine::RequestId FakeEngine::submit(engine::Request request) {
  requests.push_back(request);
  const engine::RequestId id = requests.size();
  if (script) {
    for (engine::Output& output : script(request)) {
      output.id = id;
      request.sink(std::move(output));
    }
  }
  return id;
}

void FakeGrammarCompiler::compile(sampling::GrammarSpec spec, Done done) {
  class Grammar : public sampling::Grammar {
    std::unique_ptr<sampling::GrammarMatcher> start() const override { return nullptr; }
    int mask_words() const override { return 0; }
  };
  specs.push_back(std::move(spec));
  done(error ? nullptr : std::make_shared<Grammar>(), error);
}

void FakeResponder::send(HttpResponse given) {
  EXPECT_FALSE(ended) << "answered twice";
  response = std::move(given);
  ended = true;
}

void FakeResponder::start_stream(HttpResponse head) {
  response = std::move(head);
  streamed = true;
}

void FakeResponder::offload(size_t, std::function<void()> work, std::function<void()> then) {
  work();
  then();
}

void FakeResponder::run() {
  while (!tasks.empty()) {
    const std::function<void()> task = std::move(tasks.front());
    tasks.pop_front();
    task();
  }
}

std::shared_ptr<const tokenizer::Tokenizer> pocket_tokenizer() {
  static const auto tokenizer = tokenizer::Tokenizer::load(OUTRIDER_SOURCE_DIR "/models/pocket-scout/fp8");
  return tokenizer;
}

Harness::Harness() {
  service.tokenizer = pocket_tokenizer();
  ServerOptions& options = service.options;
  options.served_model_names = {"m", "alias"};
  options.model_root = "/models/m";
  options.max_model_len = 100;
  options.vocab_size = 4096;
  options.version = "0.1.0";
  options.access_log = false;
  options.eos_token_ids = {4065, 4071, 4072};
  service.engine = engine;
  service.grammars = grammars;
  service.metrics = std::make_shared<Metrics>(options);
}

std::shared_ptr<FakeResponder> Harness::call(const std::string& method, const std::string& target,
                                             const std::string& body, Headers headers) {
  HttpRequest request;
  request.method = method;
  request.target = target;
  request.body = body;
  request.headers = std::move(headers);
  request.peer = "127.0.0.1:40000";
  auto responder = std::make_shared<FakeResponder>();
  router.handle(std::move(request), responder);
  responder->run();
  return responder;
}

std::shared_ptr<FakeResponder> Harness::post(const std::string& target, const std::string& body,
                                             Headers headers) {
  headers.emplace_back("content-type", "application/json");
  headers.emplace_back("x-request-id", "x");
  return call("POST", target, body, std::move(headers));
}

std::string completion(const std::string& fields) { return R"({"prompt":"hi",)" + fields + "}"; }

std::string chat(const std::string& fields) {
  return R"({"messages":[{"role":"user","content":"hi"}],)" + fields + "}";
}

std::string with_fixed_time(std::string text) {
  const std::string key = "\"created\":";
  for (size_t at = text.find(key); at != std::string::npos; at = text.find(key, at)) {
    at += key.size();
    text.replace(at, text.find_first_not_of("0123456789", at) - at, "1");
  }
  return text;
}

std::string Harness::body_of(const std::string& target, const std::string& body) {
  const auto reply = post(target, body);
  EXPECT_EQ(reply->response.status, 200) << reply->response.body;
  EXPECT_TRUE(reply->ended);
  return with_fixed_time(reply->response.body);
}

std::vector<std::string> Harness::events_of(const std::string& target, const std::string& body) {
  const auto reply = post(target, body);
  EXPECT_EQ(reply->response.status, 200) << reply->response.body;
  EXPECT_EQ(reply->response.content_type, "text/event-stream; charset=utf-8");
  EXPECT_TRUE(reply->ended);
  for (std::string& write : reply->writes) write = with_fixed_time(write);
  return reply->writes;
}

std::string Harness::message_of(const std::string& target, const std::string& body, int status) {
  const auto reply = post(target, body);
  EXPECT_EQ(reply->response.status, status) << reply->response.body;
  EXPECT_FALSE(reply->streamed);
  const Json answer = Json::parse(reply->response.body, nullptr, false);
  if (!answer.is_object() || !answer.contains("error")) return reply->response.body;
  EXPECT_EQ(answer["error"]["code"], status);
  EXPECT_TRUE(answer["error"]["param"].is_null());
  return answer["error"]["message"].get<std::string>();
}

void Harness::say(const std::string& text, engine::FinishReason reason, std::optional<int32_t> stop_token) {
  say_ids(ids(text), reason, stop_token);
}

void Harness::say_ids(const std::vector<int32_t>& tokens, engine::FinishReason reason,
                      std::optional<int32_t> stop_token) {
  engine->script = [=](const engine::Request& request) {
    std::vector<engine::Output> outputs;
    for (const int32_t token : tokens) {
      engine::Output output;
      output.tokens.push_back({token});
      if (request.params->logprobs) {
        output.tokens.back().has_logprobs = true;
        output.tokens.back().logprobs.chosen = {token, -0.5f, 1};
        output.tokens.back().logprobs.top = {{token, -0.5f, 1}, {token + 1, -1.25f, 2}};
        output.tokens.back().logprobs.top.resize(static_cast<size_t>(std::min(2, *request.params->logprobs)));
      }
      if (outputs.empty() && request.params->prompt_logprobs) {
        for (size_t i = 1; i < request.prompt.size(); ++i) {
          output.prompt_logprobs.push_back({{request.prompt[i], -2.0f, 3}, {{7, -0.25f, 1}}});
        }
      }
      outputs.push_back(std::move(output));
    }
    if (outputs.empty()) outputs.emplace_back();
    outputs.back().finish_reason = reason;
    outputs.back().stop_token = stop_token;
    return outputs;
  };
}

}  // namespace outrider::server

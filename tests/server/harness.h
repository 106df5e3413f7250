// Routes without sockets and without a model: a scripted engine behind the real router, tokenizer and
// writers.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/router.h"

namespace outrider::server {

inline constexpr char kCompletions[] = "/v1/completions";
inline constexpr char kChat[] = "/v1/chat/completions";

// Bodies with what is needed, and `fields`.
std::string completion(const std::string& fields);
std::string chat(const std::string& fields);

// Answers every request by its script, at once, as the engine's thread would: through the sink.
class FakeEngine : public EngineClient {
 public:
  using Script = std::function<std::vector<engine::Output>(const engine::Request&)>;

  engine::RequestId submit(engine::Request request) override;
  void cancel(engine::RequestId id, bool as_stop) override { (as_stop ? stopped : cancelled).push_back(id); }
  bool alive() const override { return is_alive; }
  void reset_prefix_cache() override { ++prefix_resets; }

  Script script;
  std::vector<engine::Request> requests;
  std::vector<engine::RequestId> cancelled, stopped;
  bool is_alive = true;
  int prefix_resets = 0;
};

// Takes every grammar for good, unless there is an error to tell.
class FakeGrammarCompiler : public sampling::GrammarCompiler {
 public:
  void compile(sampling::GrammarSpec spec, Done done) override;

  std::vector<sampling::GrammarSpec> specs;
  std::optional<RequestError> error;
};

class FakeResponder : public Responder {
 public:
  void send(HttpResponse response) override;
  void start_stream(HttpResponse head) override;
  void write(std::string bytes) override { writes.push_back(std::move(bytes)); }
  void finish() override { ended = true; }
  void on_disconnect(std::function<void()> callback) override { disconnect = std::move(callback); }
  void post(std::function<void()> task) override { tasks.push_back(std::move(task)); }
  void offload(size_t, std::function<void()> work, std::function<void()> then) override;
  void run();

  HttpResponse response;
  bool streamed = false, ended = false;
  std::vector<std::string> writes;
  std::function<void()> disconnect;
  std::deque<std::function<void()>> tasks;
};

class Harness {
 public:
  Harness();

  std::shared_ptr<FakeResponder> call(const std::string& method, const std::string& target,
                                      const std::string& body = {}, Headers headers = {});
  std::shared_ptr<FakeResponder> post(const std::string& target, const std::string& body,
                                      Headers headers = {});
  // The answer's text with "created" numbers made 1.
  std::string body_of(const std::string& target, const std::string& body);
  std::vector<std::string> events_of(const std::string& target, const std::string& body);
  // error.message of an answer that must have `status`.
  std::string message_of(const std::string& target, const std::string& body, int status = 400);

  // The engine says `text`, token by token, then ends.
  void say(const std::string& text, engine::FinishReason reason = engine::FinishReason::kStop,
           std::optional<int32_t> stop_token = std::nullopt);
  void say_ids(const std::vector<int32_t>& tokens, engine::FinishReason reason = engine::FinishReason::kStop,
               std::optional<int32_t> stop_token = std::nullopt);
  std::vector<int32_t> ids(const std::string& text) const { return service.tokenizer->encode(text, false); }

  Service service;
  std::shared_ptr<FakeEngine> engine = std::make_shared<FakeEngine>();
  std::shared_ptr<FakeGrammarCompiler> grammars = std::make_shared<FakeGrammarCompiler>();
  Router router{service};
};

std::string with_fixed_time(std::string text);
std::shared_ptr<const tokenizer::Tokenizer> pocket_tokenizer();

}  // namespace outrider::server

// One request from validated job to last byte: submits a sequence for each prompt and choice, turns what the
// engine sends into text, cuts at stop strings, and hands deltas or the whole to a ReplyWriter.
//
// Lives on its connection's executor. The engine's sinks hold it alive until their last output.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/output_text.h"
#include "server/http.h"
#include "server/service.h"

namespace outrider::server {

struct Job {
  std::string id;  // "cmpl-..." or "chatcmpl-..."
  std::string model;
  int64_t created = 0;  // Unix seconds
  std::vector<std::vector<int32_t>> prompts;
  sampling::SamplingParams params;  // without seed
  std::optional<int64_t> seed;
  int n = 1;
  engine::TextOptions text;
  bool stream = false;
  bool include_usage = false;     // a last event with usage
  bool continuous_usage = false;  // usage in each event
  bool keep_tokens = false;       // the writer needs token ids or logprobs of the whole reply
  int64_t priority = 0;
  std::string cache_salt;
  std::optional<sampling::GrammarSpec> grammar_spec;  // what every output must match,
  std::shared_ptr<const sampling::Grammar> grammar;   // and the same compiled
  engine::Clock::time_point arrival = engine::Clock::now();
  // Refused by an engine rule: plain 400, or an event when streaming.
  std::optional<std::string> late_error;
};

using StopReason = std::variant<std::monostate, std::string, int32_t>;

struct Delta {
  std::string text;
  std::vector<engine::OutputToken> tokens;
};

struct Choice {
  Choice(int index_, size_t prompt_, engine::OutputText text_)
      : index(index_), prompt(prompt_), text(std::move(text_)) {}

  int index = 0;
  size_t prompt = 0;  // index into Job::prompts
  engine::OutputText text;
  engine::RequestId engine_id = 0;
  int64_t num_tokens = 0;
  int64_t num_cached_tokens = 0;
  std::vector<engine::OutputToken> tokens;  // with Job::keep_tokens
  std::vector<sampling::PositionLogprobs> prompt_logprobs;
  std::string finish_reason;  // empty: still running
  StopReason stop_reason;
  Delta unsent;                // with --stream-interval
  size_t sent_characters = 0;  // streamed so far
  bool started = false;        // an event has been sent
  bool held = true;            // counted by Service::admission

  bool done() const { return !finish_reason.empty(); }
};

struct Usage {
  int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
};

// Knows the shape of a route's answers. Events are complete ("data: ...\n\n"); an empty one is not sent.
class ReplyWriter {
 public:
  virtual ~ReplyWriter() = default;
  virtual std::string opening_events(const Job& job, const std::vector<Choice>& choices) = 0;
  virtual std::string event(const Job& job, Choice& choice, const Delta& delta) = 0;
  virtual std::string usage_event(const Job& job, const Usage& usage) = 0;
  virtual std::string whole(const Job& job, const std::vector<Choice>& choices, const Usage& usage) = 0;
};

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(Service& service, Job job, std::unique_ptr<ReplyWriter> writer, ResponderPtr responder);
  ~Generation();

  void start();

 private:
  void submit(size_t choice);
  void on_output(size_t choice, engine::Output output);
  Delta take(Choice& choice, engine::Output& output);
  void end_choice(Choice& choice, const engine::Output& output, Delta& delta);
  void send_delta(Choice& choice, Delta delta);
  void release(Choice& choice);
  void log_outputs() const;
  void complete();
  void fail(const std::string& message);
  void cancel_running();
  Usage usage() const;

  Service& service_;
  Job job_;
  std::unique_ptr<ReplyWriter> writer_;
  ResponderPtr responder_;
  std::vector<Choice> choices_;
  size_t num_running_ = 0;
  bool opened_ = false;  // first event sent
  bool over_ = false;    // answered, failed or disconnected
};

// {"prompt_tokens":5,"total_tokens":25,"completion_tokens":20[,"prompt_tokens_details":...]}: `details` null
// is printed with `show_null`.
void append_usage(std::string& out, const Usage& usage, bool details, bool show_null);
void append_stop_reason(std::string& out, const StopReason& reason);
void append_ids(std::string& out, std::span<const int32_t> ids);
// null where they were not asked for.
void append_ids(std::string& out, bool wanted, std::span<const int32_t> ids);
void append_ids(std::string& out, bool wanted, const std::vector<engine::OutputToken>& tokens);
std::string random_hex(int digits);

}  // namespace outrider::server

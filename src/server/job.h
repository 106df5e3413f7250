// A validated generation request, and what has come of it so far.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/engine.h"
#include "engine/output_text.h"

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

}  // namespace outrider::server

// One request inside the scheduler.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/kv_cache.h"

namespace outrider::engine {

struct Sequence {
  enum class State {
    kWaiting,  // no slot, no pages, in no step
    kRunning,  // has a slot
    kEnding,   // has had its last output; keeps slot and pages until the steps that name them are collected
  };

  RequestId id = 0;
  std::shared_ptr<const sampling::SamplingParams> params;
  int64_t priority = 0;
  std::string cache_salt;
  int64_t prompt_length = 0;
  int64_t max_outputs = 0;  // max_tokens, cut at max_model_len
  // With a grammar: has accepted every output in `tokens`; `mask` says what may follow them. Both outlive a
  // preemption.
  std::unique_ptr<sampling::GrammarMatcher> matcher;
  std::vector<uint32_t> mask;

  State state = State::kWaiting;
  std::vector<int32_t> tokens;  // prompt, then every output that has been collected
  int32_t slot = -1;
  bool needs_binding = false;  // the slot has not been announced to the runner yet
  BlockTable table;
  int64_t num_computed = 0;   // positions of collected steps
  int64_t num_scheduled = 0;  // positions of submitted steps too
  int num_unread = 0;         // tokens that submitted steps will sample
  int num_steps = 0;          // submitted steps that name this sequence
  std::vector<sampling::PositionLogprobs> prompt_logprobs;

  bool was_admitted = false;  // also stays set through a preemption
  int64_t num_cached_tokens = 0;
  int64_t num_preemptions = 0;
  Clock::time_point arrival, first_scheduled, first_token, last_token;

  int64_t num_outputs() const { return static_cast<int64_t>(tokens.size()) - prompt_length; }
  // Positions that exist once the submitted steps are done.
  int64_t length() const { return static_cast<int64_t>(tokens.size()) + num_unread; }
  // What may follow a token is known only when that token is: a grammar's sequence never runs ahead of one.
  int64_t remaining() const {
    if (matcher && num_unread > 0) return 0;
    return num_outputs() + num_unread >= max_outputs ? 0 : length() - num_scheduled;
  }
  // They go out with the first token.
  bool wants_prompt_logprobs() const { return params->prompt_logprobs && num_outputs() == 0; }
};

// Who goes first: by priority (all equal with FCFS), then by arrival. The first of those that run is never
// preempted.
struct GoesFirst {
  bool operator()(const Sequence* a, const Sequence* b) const {
    if (a->priority != b->priority) return a->priority < b->priority;
    if (a->arrival != b->arrival) return a->arrival < b->arrival;
    return a->id < b->id;
  }
};

// Whether the last token of `sequence` ends it.
struct Stop {
  FinishReason reason;
  std::optional<int32_t> token;  // the stop_token_ids member
};
std::optional<Stop> find_stop(const Sequence& sequence);

}  // namespace outrider::engine

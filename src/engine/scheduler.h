// Decides what each step computes. Plain data in, plain data out: no thread, no clock, no device.
//
// plan() may run while one earlier step is still uncollected; apply() takes results in the order of the
// plans. What a submitted step names (slots, pages) is neither given to anybody else nor taken away until it
// is collected.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"
#include "engine/kv_cache.h"
#include "engine/sequence.h"
#include "runner/runner.h"

namespace outrider::engine {

struct Preemption {
  RequestId id = 0;
  int64_t num_computed = 0;   // positions given up
  int64_t num_published = 0;  // of those, positions that stay in the prefix cache until evicted
};

class Scheduler {
 public:
  Scheduler(model::KvGeometry kv, EngineOptions options, uint64_t seed);

  // Every call below may leave outputs and statistics to be taken. Request::sink is not looked at.
  void add(RequestId id, Request request, Clock::time_point now);
  // Ends a request with `reason`; false when it is not (or no longer) known.
  bool cancel(RequestId id, FinishReason reason, const std::string& error, Clock::time_point now);
  void cancel_all(FinishReason reason, const std::string& error, Clock::time_point now);

  // Nothing when there is nothing to do before the next result.
  std::optional<runner::StepPlan> plan(Clock::time_point now);
  // Throws std::runtime_error when the result does not answer the oldest uncollected plan.
  void apply(runner::StepResult result, Clock::time_point now);
  void reset_prefix_cache();

  std::vector<Output> take_outputs();
  std::vector<Preemption> take_preemptions();
  StepStats take_stats();

  bool has_requests() const { return !waiting_.empty() || !running_.empty(); }
  int num_steps_in_flight() const { return static_cast<int>(in_flight_.size()); }

  // For tests: the first broken rule, empty when all hold.
  std::string check() const;
  const BlockPool& pool() const { return cache_.pool(); }
  struct Progress {
    RequestId id = 0;
    int64_t num_computed = 0;
  };
  std::optional<Progress> first_in_line() const;  // of those that run

 private:
  struct Row {
    Sequence* sequence;
    int64_t start = 0;
    int64_t num_tokens = 0;
    bool sample = false;
    bool prompt_logprobs = false;
  };
  struct Step {
    uint64_t id = 0;
    std::vector<Row> rows;
  };
  using Queue = std::set<Sequence*, GoesFirst>;

  int64_t limited(int64_t tokens) const;
  std::vector<Row> share_budget(int64_t* budget) const;
  bool give_pages(std::vector<Row>* rows);
  bool make_room(const Sequence& sequence);
  void preempt(Sequence* victim);
  void admit(int64_t budget, std::vector<Row>* rows, Clock::time_point now);
  bool try_admit(Sequence* sequence, Clock::time_point now);
  int64_t expected_outputs(const Sequence& sequence) const;
  int64_t remaining_steps(const Sequence& sequence) const;
  int64_t final_pages(const Sequence& sequence) const;
  bool everybody_fits() const;
  bool keeps_pace(const Sequence& candidate, int64_t shared) const;
  bool will_fit(const Sequence& candidate, int64_t needed) const;
  int64_t prefill_pages(int64_t length) const;
  int64_t reserved_pages() const;
  runner::StepPlan write_plan(std::vector<Row> rows);
  void write_row(Row* row, int index, runner::StepPlan* plan);

  void collect_row(const Row& row, const runner::SampledToken* sampled, runner::PromptLogprobs* prompt,
                   Clock::time_point now);
  static void open_grammar(Sequence* sequence, const sampling::Grammar& grammar);
  static bool follow_grammar(Sequence* sequence, Output* output);
  void append_token(Sequence* sequence, const runner::SampledToken& sampled, Clock::time_point now);
  void finish(Sequence* sequence, Output output, Clock::time_point now);
  void release(Sequence* sequence);  // gives back slot and pages
  void forget(Sequence* sequence);   // the same, for good

  EngineOptions options_;
  KvCache cache_;
  std::unordered_map<RequestId, std::unique_ptr<Sequence>> sequences_;
  Queue waiting_, running_;
  std::vector<int32_t> free_slots_;
  std::deque<Step> in_flight_;
  uint64_t next_step_id_ = 1;
  double mean_outputs_ = 0.0;  // of the requests that ended of late
  std::vector<Output> outputs_;
  std::vector<Preemption> preemptions_;
  StepStats stats_;
};

}  // namespace outrider::engine

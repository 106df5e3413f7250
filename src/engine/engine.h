// The engine: owns scheduler, block pool and runner on one thread. Requests and cancellations enter by one
// queue, outputs leave through each request's sink. Knows tokens only: no text, no HTTP.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runner/runner.h"
#include "sampling/grammar.h"
#include "sampling/params.h"

namespace outrider::engine {

using Clock = std::chrono::steady_clock;
using RequestId = uint64_t;

enum class FinishReason { kStop, kLength, kAbort, kError };

struct OutputToken {
  int32_t token = 0;
  bool has_logprobs = false;
  sampling::PositionLogprobs logprobs;
};

// What one step gave one request. Delivered on the engine thread: the sink must only hand it on. It may call
// submit and cancel, but nothing that waits for the engine.
struct Output {
  RequestId id = 0;
  std::vector<OutputToken> tokens;
  // Set once, with or before the first token, when prompt_logprobs were asked: positions 1..n-1 of the
  // prompt.
  std::vector<sampling::PositionLogprobs> prompt_logprobs;
  std::optional<FinishReason> finish_reason;  // set in the last Output of a request
  std::optional<int32_t> stop_token;          // the stop_token_ids member that ended it
  int64_t num_cached_tokens = 0;              // prompt tokens found in the prefix cache
  std::string error;                          // with kError
};
using OutputSink = std::function<void(Output)>;

struct Request {
  std::vector<int32_t> prompt;  // 1 .. max_model_len - 1 tokens
  std::shared_ptr<const sampling::SamplingParams> params;
  std::shared_ptr<const sampling::Grammar> grammar;  // what the output must match; null: anything
  int64_t priority = 0;                              // lower runs first, with the priority policy
  std::string cache_salt;  // prefix-cache entries are shared only between equal salts
  Clock::time_point arrival = Clock::now();
  OutputSink sink;
};

enum class Policy { kFcfs, kPriority };

struct EngineOptions {
  int64_t max_model_len = 0;
  int max_num_seqs = 256;
  int max_num_batched_tokens = 8192;
  int long_prefill_token_threshold = 0;  // 0: off
  // Prompt tokens of a step in which many sequences decode; 0: as many as max_num_batched_tokens leaves.
  int prompt_tokens_beside_decodes = 0;
  bool prefix_caching = true;
  bool async_scheduling = true;
  Policy policy = Policy::kFcfs;
  // A device that does not come back from one call for this long has failed. Zero: it is waited for.
  Clock::duration device_timeout{0};
};

// Observations for /metrics, handed out on the engine thread to an observer that must not block.
struct FinishedRequest {
  FinishReason reason = FinishReason::kStop;
  int64_t prompt_tokens = 0, generation_tokens = 0, max_tokens = 0, cached_tokens = 0;
  double queue_seconds = 0, prefill_seconds = 0, decode_seconds = 0, inference_seconds = 0, e2e_seconds = 0;
  int64_t preemptions = 0;
};

struct StepStats {
  int64_t running = 0, waiting = 0;
  double kv_usage = 0.0;      // 0..1
  int64_t prompt_tokens = 0;  // whole prompts of requests whose prefill finished in this step
  int64_t computed_prompt_tokens = 0;
  int64_t generation_tokens = 0;
  int64_t preemptions = 0;
  int64_t prefix_queries = 0, prefix_hits = 0;  // tokens looked up and found
  double step_seconds = 0.0;                    // 0: no step ended, requests came or went between steps
  std::vector<double> time_to_first_token;      // seconds, one a request that got its first token
  std::vector<double> inter_token_latency;      // seconds, one a request that got a later token
  std::vector<FinishedRequest> finished;
};

class StatsObserver {
 public:
  virtual ~StatsObserver() = default;
  virtual void on_step(const StepStats& stats) = 0;
};

class Engine {
 public:
  // Starts the engine thread. `observer` may be null and must outlive the engine.
  Engine(std::unique_ptr<runner::Runner> runner, EngineOptions options, StatsObserver* observer);
  ~Engine();  // aborts what runs and joins; waits for a device that has not come back

  // Any thread. The sink gets at least one Output with a finish_reason, whatever happens.
  RequestId submit(Request request);
  // Any thread; takes effect before the next step is planned. Unknown ids are ignored. The sink gets kAbort
  // unless it has already been given its last output. `as_stop`: a stop string ended it; kStop in place of
  // kAbort.
  void cancel(RequestId id, bool as_stop = false);
  // Any thread: forget cached prefixes (only when nothing runs it is certain that all go). Returns when done.
  void reset_prefix_cache();

  // False once the device has failed: every request ends with kError, later ones too.
  bool alive() const;
  const EngineOptions& options() const;
  const model::KvGeometry& kv() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace outrider::engine

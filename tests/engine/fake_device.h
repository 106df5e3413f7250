// A device whose "model" reads every position it may attend to from the pages that the plan names, and so
// gives other tokens when a block table is wrong, a page was given away too early, or a prefix-cache entry is
// stale.
//
// State of position p: state(p) = H(token, p, sum over full groups g and q < p of kv(g, q), sum over chunked
// groups g and q in the chunk of p, q < p, of kv(g, q)) with kv(g, q) = H(g, q, state(q)). The next token is
// H(state, seed, output index), as a place among the ids that the mask allows. `predict` computes the same
// from the tokens alone.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "engine/engine.h"
#include "runner/runner.h"

namespace outrider::engine {

inline constexpr int32_t kVocabulary = 50;

uint64_t hash_all(std::initializer_list<uint64_t> values);

// The model without pages.
class PlainModel {
 public:
  explicit PlainModel(const model::KvGeometry& kv) : kv_(kv) {}
  // Tokens of a request that nothing disturbs, the one that ends it included. `by_grammar`: its grammar ended
  // it.
  std::vector<int32_t> predict(const Request& request, int64_t max_model_len, FinishReason* reason = nullptr,
                               bool* by_grammar = nullptr) const;

 private:
  const model::KvGeometry& kv_;
};

// Executes a step when it is collected. Throws std::logic_error for a plan that breaks the contract.
class FakeDevice {
 public:
  FakeDevice(const model::KvGeometry& kv, int max_num_seqs, int max_num_batched_tokens);

  void submit(runner::StepPlan plan);
  runner::StepResult collect();
  int in_flight() const { return static_cast<int>(steps_.size()); }

 private:
  struct Slot {
    bool bound = false;
    std::shared_ptr<const sampling::SamplingParams> params;
    std::vector<int32_t> tokens;  // prompt and outputs
    int64_t prompt_length = 0;
  };
  struct Claims {  // what a submitted step names
    std::set<int32_t> slots;
    std::map<int32_t, int32_t> writes;           // page -> slot
    std::map<int32_t, std::set<int32_t>> reads;  // page -> slots
  };

  void check_shape(const runner::StepPlan& plan) const;
  Claims claims_of(const runner::StepPlan& plan) const;
  void check_claims(const Claims& claims, const runner::StepPlan& plan) const;
  void run_row(const runner::StepPlan& plan, int row, runner::StepResult* result);
  uint64_t compute(const int32_t* pages, int blocks_per_row, int64_t position, int32_t token);

  model::KvGeometry kv_;
  int max_num_seqs_, max_num_batched_tokens_;
  std::vector<uint64_t> cells_;  // [page, position in block]; 0: never written
  std::vector<Slot> slots_;
  std::deque<std::pair<runner::StepPlan, Claims>> steps_;
};

// One token sequence a position: what prompt_logprobs returns for `token` at `position`.
inline float fake_logprob(int64_t position, int32_t token) {
  return -0.25f * static_cast<float>(position) - token;
}

}  // namespace outrider::engine

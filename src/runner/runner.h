// The contract between engine and devices: a step is plain data in, plain data out.
//
// Thread: one engine thread calls submit and collect. Up to two steps may be in flight; collect returns them
// in order. A token that the previous, uncollected step will sample is written kTokenFromDevice: the runner
// takes it from the slot's own state, so that the host need not wait for it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/memory_plan.h"
#include "sampling/params.h"

namespace outrider::runner {

inline constexpr int32_t kTokenFromDevice = -1;
inline constexpr int32_t kNoPage = -1;

// Gives slot `slot` to a (new or resumed) request before the step's sequences run. Sampling state (counts for
// penalties, last tokens) is rebuilt from these ids.
struct SlotBinding {
  int32_t slot = 0;
  std::shared_ptr<const sampling::SamplingParams> params;
  std::vector<int32_t> prompt;
  std::vector<int32_t> output;  // tokens sampled so far (after a preemption)
};

struct SequenceStep {
  int32_t slot = 0;              // [0, max_num_seqs): the sequence's row of device state
  int32_t num_computed = 0;      // positions whose K and V are in the cache = position of the first new token
  int32_t num_tokens = 0;        // new positions to compute, >= 1
  int32_t first_token = 0;       // index of the first new token in StepPlan::tokens
  bool sample = false;           // the last new position yields a token
  int32_t output_index = 0;      // tokens this request has sampled before this one (seeds, min_tokens)
  bool prompt_logprobs = false;  // return logprobs of prompt tokens that follow the new positions
  int32_t next_prompt_token = kTokenFromDevice;  // after the last new position, when it is a prompt token
  int32_t mask = -1;  // of the sampled token: index in StepPlan::masks, -1 for none
};

struct StepPlan {
  uint64_t id = 0;
  std::vector<SlotBinding> bindings;
  std::vector<SequenceStep> sequences;
  std::vector<int32_t> tokens;  // new tokens of all sequences, in order of `sequences`
  // pages[(s * num_groups + g) * blocks_per_row + b]: page of sequence s, group g, block b (positions
  // b * block_size...); kNoPage where it was given back or is not needed yet.
  std::vector<int32_t> pages;
  int32_t blocks_per_row = 0;
  // masks[m * mask_words + i / 32], bit i % 32: whether id i may be sampled where SequenceStep::mask is m.
  std::vector<uint32_t> masks;
  int32_t mask_words = 0;  // at least the vocabulary's bits
};

struct SampledToken {
  int32_t sequence = 0;  // index in StepPlan::sequences
  int32_t token = 0;
  bool has_logprobs = false;
  sampling::PositionLogprobs logprobs;
};

// Logprobs of prompt tokens at positions num_computed+1.. of one sequence, as far as this step computed them.
struct PromptLogprobs {
  int32_t sequence = 0;
  std::vector<sampling::PositionLogprobs> positions;
};

struct StepResult {
  uint64_t id = 0;
  std::vector<SampledToken> sampled;
  std::vector<PromptLogprobs> prompt;
  std::string error;  // not empty: the device failed; the engine stops
};

class Runner {
 public:
  virtual ~Runner() = default;
  virtual void submit(StepPlan plan) = 0;
  virtual StepResult collect() = 0;  // blocks for the oldest submitted step
  virtual const model::KvGeometry& kv() const = 0;
};

}  // namespace outrider::runner

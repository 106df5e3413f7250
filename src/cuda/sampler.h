// Sampling on the device: sampling::Sampler's steps, order and draws, for many rows at once, with the
// requests' parameters and histories in device memory.
//
// For the same logits the token is the CPU sampler's, except where rounding decides. Weights here are fp32,
// there double: a draw within kDrawTolerance of a boundary between two tokens, or a nucleus whose edge lies
// so close to p, may fall on the other side. At temperatures other than 1 the nucleus orders tokens by their
// logits; the CPU takes those whose scaled logits round to one number in order of their ids.
// A row's result is a function of its logits and its slot alone, bit for bit.
//
// One thread calls; the device's work is ordered by the stream, which must be the same in all calls.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "cuda/device.h"
#include "cuda/sampler_state.h"
#include "model/memory_plan.h"
#include "runner/runner.h"
#include "sampling/params.h"

namespace outrider::cuda {

// Of the cumulative probability, in [0, 1].
inline constexpr double kDrawTolerance = 4e-6;

struct SamplerShape {
  int max_slots = 0;
  int max_rows = 0;           // in one run
  int vocab = 0;              // of a row of logits
  int valid_vocab = 0;        // ids from here on are never chosen; 0: vocab
  int64_t max_model_len = 0;  // tokens of the longest request
  int64_t max_logprobs = 20;  // alternatives a position; -1: the vocabulary

  int ids() const { return valid_vocab > 0 && valid_vocab < vocab ? valid_vocab : vocab; }
  int mask_words() const { return (vocab + 31) / 32; }
};

// A row of logits whose token or whose probability of a given token is wanted.
struct SampleRow {
  int slot = 0;
  bool sample = true;
  int output_index = 0;      // of a sampled row: runner::SequenceStep::output_index
  int32_t prompt_token = 0;  // of another: the token whose logprob is wanted
  int mask = -1;             // of a sampled row: its mask, -1 for none
};

// Results of one run in pinned memory, which the device writes; valid once the stream has passed the run.
class SampleResults {
 public:
  explicit SampleResults(const SamplerShape& shape);
  int rows() const { return static_cast<int>(wanted_.size()); }
  int32_t token(int row) const { return rows_.as<RowResult>()[row].token; }
  bool has_logprobs(int row) const { return wanted_[row].top >= 0; }
  sampling::PositionLogprobs logprobs(int row) const;

 private:
  friend class Sampler;
  struct Wanted {
    int32_t top = -1, offset = 0;
    bool as_logits = false;
  };
  std::vector<Wanted> wanted_;
  PinnedBuffer rows_, top_;
};

class Sampler {
 public:
  explicit Sampler(const SamplerShape& shape);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  // Device memory, by name: what the constructor allocates.
  static std::vector<model::PlanRow> memory(const SamplerShape& shape);

  // Gives a slot to a request, from the next run on. The state is on its way once commit_bindings() or run()
  // is called.
  void bind(const runner::SlotBinding& binding, cudaStream_t stream);
  void commit_bindings(cudaStream_t stream);

  // How many of the first `rows` one run takes: max_rows, or fewer where many alternatives are asked for. At
  // least 1.
  int fitting_rows(std::span<const SampleRow> rows) const;

  // logits [rows][vocab] in device memory, left as they are; masks [SampleRow::mask][mask_words], device:
  // bits of the ids that a sampled row may take. A slot has at most one sampled row in a run.
  void run(const float* logits, std::span<const SampleRow> rows, const uint32_t* masks,
           SampleResults& results, cudaStream_t stream);

  // [slots], device: the token each slot sampled last.
  const int32_t* last_tokens() const { return state_.last_tokens; }

 private:
  // Host memory that the device reads until `done`: records of bindings, lists too long for their slot.
  struct Stage {
    PinnedBuffer records, offsets;
    size_t used_words = 0;  // of 8 bytes
    int count = 0, committed = 0;
    std::vector<std::shared_ptr<PinnedBuffer>> retired;
    Event done;
    bool in_flight = false;
  };
  struct Slot {
    std::shared_ptr<const sampling::SamplingParams> params;
    std::shared_ptr<PinnedBuffer> long_lists;
    bool pending = false;  // bound, not yet committed
  };

  Stage& stage() { return stages_[current_]; }
  void next_stage(cudaStream_t stream);
  RowTask make_task(const SampleRow& row, SampleResults& results, int& top_used) const;
  int wanted_top(const SampleRow& row) const;

  const SamplerShape shape_;
  DeviceBuffer params_, lists_, last_tokens_, num_outputs_, recent_, allowed_, counts_, overflows_,
      num_overflows_;
  SlotState state_;
  std::vector<Slot> slots_;
  std::array<Stage, 3> stages_;
  int current_ = 0;
  std::vector<uint64_t> record_;  // being made
  SampleArgs args_;
};

// Parts of the above without a device, for tests.

// The record of a binding with everything behind it, in words of 8 bytes. `long_lists` receives the lists
// where they do not fit in the slot; the record then holds none, and params.lists is to be set by the caller.
void make_bind_record(const runner::SlotBinding& binding, const SamplerShape& shape,
                      std::vector<uint64_t>& record, std::vector<int32_t>& long_lists);
// Alternatives that the results of a run have room for.
int64_t top_capacity(const SamplerShape& shape);
// The best first, lowest ids first among equals.
sampling::PositionLogprobs make_logprobs(const RowResult& row, std::span<const TopEntry> top, bool as_logits);

}  // namespace outrider::cuda

// From the engine's plan of a step to what Llama4::forward() takes: arrays in the step's block, and the
// counts and pointers that launches are made from. Plain host code.
//
// Decode steps of few rows recur: what changes with their contexts is rounded up to a few classes, so that
// steps alike have equal Steps and a graph of one is a graph of all (step_graphs.h). Rounding moves arrays
// and launches blocks without work; it changes no result.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/attention_work.h"
#include "cuda/llama4.h"
#include "cuda/step_block.h"
#include "model/memory_plan.h"
#include "runner/runner.h"

namespace outrider::cuda {

// What of model, device and options decides how steps are written.
struct StepShape {
  model::KvGeometry kv;
  AttentionShape attention;
  AttentionTiling tiling;
  int num_sms = 0;
  int64_t max_model_len = 0;
  int max_graph_rows = 0;               // decode steps up to so many rows recur
  const int32_t* last_token = nullptr;  // by slot, device
};

// 64, 256, 1024...
constexpr int size_class(int64_t count) {
  int64_t size = 64;
  while (size < count) size *= 4;
  return static_cast<int>(size);
}

class StepMaker {
 public:
  explicit StepMaker(const StepShape& shape) : shape_(shape) {}
  Step make(const runner::StepPlan& plan, StepBlock& block);

  // Bytes of a block for any step. `mask_words`: of a row's mask.
  static size_t block_bytes(const Limits& limits, int num_groups, int mask_words);

 private:
  AttentionLists make_lists(int chunk_size, const Step& step, StepBlock& block);

  const StepShape shape_;
  // Of the step being made.
  std::vector<BatchSequence> sequences_;
  std::vector<int32_t> positions_, sequence_of_row_;
  AttentionWork work_;
};

}  // namespace outrider::cuda

// What a step's kernels know of the step: device pointers into one block that the host fills and copies once
// a step.
#pragma once

#include <cstdint>

namespace outrider::cuda {

// New tokens of one sequence, neighbours in position and in the batch.
struct BatchSequence {
  int32_t first_row = 0;
  int32_t num_tokens = 0;
  int32_t first_position = 0;
  int32_t slot = 0;
};

// A tile of attention: neighbouring new tokens of one sequence, against one run of keys or all of them. Run n
// starts at first_key + n * kKeyRun, where first_key is the start of the attention chunk (or 0): a function
// of the position alone. Runs are summed apart and then folded in order, in registers or through memory, so
// that a row's sum has the same parts in the same order whatever else is in the batch and however its prompt
// was cut.
struct AttentionTile {
  int32_t sequence = 0;
  int32_t first_row = 0;
  int32_t num_tokens = 0;
  int32_t first_position = 0;
  int32_t first_key = 0;      // of the chunk
  int32_t key_run = -1;       // n; kAllRuns: every run up to the last token's
  int32_t first_partial = 0;  // a tile of one run: where its first token's sum goes, the others' follow
};
inline constexpr int kKeyRun = 512;
inline constexpr int32_t kAllRuns = -1;

// A row whose runs were summed by several tiles: run n lies at first_partial + n * partial_stride.
struct AttentionMerge {
  int32_t row = 0;
  int32_t first_partial = 0;
  int32_t partial_stride = 0;
  int32_t num_runs = 0;
};

struct Batch {
  int num_rows = 0;
  int num_sequences = 0;
  const int32_t* tokens = nullptr;           // [rows]
  const int32_t* positions = nullptr;        // [rows]
  const int32_t* sequence_of_row = nullptr;  // [rows]
  const BatchSequence* sequences = nullptr;  // [sequences]
  const int32_t* pages = nullptr;            // runner::StepPlan::pages: [sequences][groups][blocks_per_row]
  int num_groups = 0;
  int blocks_per_row = 0;
  friend bool operator==(const Batch&, const Batch&) = default;
};

}  // namespace outrider::cuda

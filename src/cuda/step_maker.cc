#include "cuda/step_maker.h"

#include <algorithm>

#include "cuda/attention_few.h"

namespace outrider::cuda {

using runner::SequenceStep;
using runner::StepPlan;

namespace {

int blocks_of(int64_t positions) {
  return static_cast<int>((positions + kPagePositions - 1) / kPagePositions);
}

}  // namespace

size_t StepMaker::block_bytes(const Limits& limits, int num_groups, int mask_words) {
  const int64_t rows = limits.max_rows, sequences = limits.max_num_seqs;
  const int64_t partials = max_attention_partials(limits.max_num_seqs, limits.max_model_len);
  const int64_t tiles = max_attention_tiles(limits.max_rows, static_cast<int>(partials));
  const int64_t bytes = 4 * rows * sizeof(int32_t) + sequences * sizeof(BatchSequence) +
                        sequences * num_groups * (blocks_of(limits.max_model_len) + 1) * sizeof(int32_t) +
                        2 * (tiles * sizeof(AttentionTile) + partials * sizeof(AttentionMerge)) +
                        sequences * mask_words * sizeof(uint32_t);
  constexpr int64_t kArrays = 64;  // each aligned
  return static_cast<size_t>(bytes) + kArrays * StepBlock::kAlignment;
}

Step StepMaker::make(const StepPlan& plan, StepBlock& block) {
  const int rows = static_cast<int>(plan.tokens.size());
  sequences_.clear();
  positions_.resize(rows);
  sequence_of_row_.resize(rows);
  for (const SequenceStep& s : plan.sequences) {
    for (int i = 0; i < s.num_tokens; ++i) {
      positions_[s.first_token + i] = s.num_computed + i;
      sequence_of_row_[s.first_token + i] = static_cast<int32_t>(sequences_.size());
    }
    sequences_.push_back({s.first_token, s.num_tokens, s.num_computed, s.slot});
  }
  Step step;
  Batch& batch = step.batch;
  batch.num_rows = rows;
  batch.num_sequences = static_cast<int>(sequences_.size());
  step.recurs = rows <= shape_.max_graph_rows && rows == batch.num_sequences;
  batch.tokens = block.put(plan.tokens);
  batch.positions = block.put(positions_);
  batch.sequence_of_row = block.put(sequence_of_row_);
  batch.sequences = block.put(sequences_);
  batch.num_groups = shape_.kv.num_groups();
  batch.blocks_per_row = plan.blocks_per_row;
  if (step.recurs) {
    batch.blocks_per_row = std::max(
        plan.blocks_per_row, std::min(size_class(plan.blocks_per_row), blocks_of(shape_.max_model_len)));
  }
  batch.pages =
      block.put_rows(std::span<const int32_t>(plan.pages), plan.blocks_per_row, batch.blocks_per_row);
  step.row_range = block.put(std::vector<int32_t>{0, rows});
  step.full = make_lists(0, step, block);
  step.chunked = make_lists(shape_.kv.chunk_size, step, block);
  step.last_token = shape_.last_token;
  return step;
}

AttentionLists StepMaker::make_lists(int chunk_size, const Step& step, StepBlock& block) {
  plan_attention(sequences_, chunk_size, shape_.tiling, work_);
  const int rows = step.batch.num_rows;
  AttentionLists lists;
  lists.has_narrow = lists.has_wide = false;
  lists.chunk_size = chunk_size;
  lists.decode_runs = work_.decode_runs;
  if (takes_few_rows(shape_.attention, rows, lists, shape_.num_sms)) return lists;  // without tiles
  lists.finishes = work_.finishes;
  lists.decode_runs = 0;
  size_t tile_room = 0, merge_room = 0;
  lists.num_merges = static_cast<int>(work_.merges.size());
  if (step.recurs) {  // tiles are a row's or a sum's, merges a row's
    tile_room =
        std::min(size_class(static_cast<int64_t>(work_.narrow.size())), rows + shape_.tiling.max_partials);
    merge_room = rows;
    if (lists.num_merges > 0) lists.num_merges = rows;  // how many there are the kernel reads
  }
  lists.narrow = block.put(work_.narrow, tile_room);
  lists.wide = block.put(work_.wide);
  lists.merges = block.put(work_.merges, merge_room);
  lists.counts = block.put(std::vector<int32_t>{static_cast<int32_t>(work_.narrow.size()),
                                                static_cast<int32_t>(work_.wide.size()),
                                                static_cast<int32_t>(work_.merges.size())});
  lists.has_narrow = !work_.narrow.empty();
  lists.has_wide = !work_.wide.empty();
  return lists;
}

}  // namespace outrider::cuda

#include "cuda/attention_work.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace outrider::cuda {
namespace {

struct Step {
  std::vector<BatchSequence> sequences;
  int rows = 0;
  void add(int num_tokens, int first_position) {
    sequences.push_back({rows, num_tokens, first_position, 0});
    rows += num_tokens;
  }
};

// Each row's runs are summed exactly once, by whole tiles or by tiles of one run that a merge names.
void expect_every_run_of_every_row_once(const Step& step, int chunk, const AttentionTiling& tiling,
                                        const AttentionWork& work) {
  std::map<int, std::pair<int, int>> position_and_sequence;
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const BatchSequence& sequence = step.sequences[s];
    for (int i = 0; i < sequence.num_tokens; ++i) {
      position_and_sequence[sequence.first_row + i] = {sequence.first_position + i, int(s)};
    }
  }
  std::set<int> whole_rows;
  std::map<int, std::pair<int, int>> run_of_partial;  // partial: row, run
  auto look_at = [&](const AttentionTile& tile, int limit) {
    ASSERT_GE(tile.num_tokens, 1);
    ASSERT_LE(tile.num_tokens, limit);
    for (int i = 0; i < tile.num_tokens; ++i) {
      const int row = tile.first_row + i;
      const auto [position, sequence] = position_and_sequence.at(row);
      EXPECT_EQ(tile.first_position + i, position);
      EXPECT_EQ(tile.sequence, sequence);
      EXPECT_EQ(tile.first_key, chunk > 0 ? position / chunk * chunk : 0);
      if (tile.key_run == kAllRuns) {
        EXPECT_TRUE(whole_rows.insert(row).second);
      } else {
        EXPECT_TRUE(run_of_partial.insert({tile.first_partial + i, {row, tile.key_run}}).second);
      }
    }
  };
  for (const AttentionTile& tile : work.narrow) look_at(tile, tiling.narrow_tokens);
  for (const AttentionTile& tile : work.wide) look_at(tile, tiling.wide_tokens);
  std::set<int> merged_rows;
  for (const AttentionMerge& merge : work.merges) {
    EXPECT_TRUE(merged_rows.insert(merge.row).second);
    const auto [position, sequence] = position_and_sequence.at(merge.row);
    const int first_key = chunk > 0 ? position / chunk * chunk : 0;
    EXPECT_GE(merge.num_runs * kKeyRun, position - first_key + 1);
    for (int run = 0; run < merge.num_runs; ++run) {
      const int partial = merge.first_partial + run * merge.partial_stride;
      ASSERT_TRUE(run_of_partial.contains(partial));
      EXPECT_EQ(run_of_partial[partial], std::pair(merge.row, run));
      run_of_partial.erase(partial);
    }
  }
  EXPECT_TRUE(run_of_partial.empty());
  EXPECT_EQ(whole_rows.size() + merged_rows.size(), size_t(step.rows));
  for (int row : merged_rows) EXPECT_FALSE(whole_rows.contains(row));
}

TEST(AttentionWork, covers_every_run_of_every_row_once_within_its_bounds) {
  std::mt19937 random(8);
  auto below = [&](int n) { return int(random() % n); };
  for (int trial = 0; trial < 300; ++trial) {
    Step step;
    const int sequences = 1 + below(trial % 3 == 0 ? 200 : 5);
    for (int s = 0; s < sequences; ++s) {
      step.add(below(2) ? 1 : 1 + below(60), below(4) ? below(3000) : below(40000));
    }
    const int chunk = std::vector{0, 32, 100, 8192}[trial % 4];
    AttentionTiling tiling{1 + below(4), 9 + below(20), 8, 528, 1 << below(13)};
    AttentionWork work;
    plan_attention(step.sequences, chunk, tiling, work);
    EXPECT_LE(work.num_partials, tiling.max_partials);
    EXPECT_LE(work.merges.size(), size_t(tiling.max_partials));
    const size_t most = max_attention_tiles(step.rows, tiling.max_partials);
    EXPECT_LE(work.narrow.size(), most);
    EXPECT_LE(work.wide.size(), most);
    expect_every_run_of_every_row_once(step, chunk, tiling, work);
  }
}

TEST(AttentionWork, a_long_sequence_alone_is_spread_over_the_device) {
  Step step;
  step.add(1, 199999);
  AttentionWork work;
  plan_attention(step.sequences, 0, {1, 18, 8, 528, max_attention_partials(256, 200000)}, work);
  EXPECT_EQ(work.narrow.size(), 391u);
  EXPECT_EQ(work.merges.size(), 1u);
}

TEST(AttentionWork, a_full_batch_of_like_sequences_is_not_cut_for_nothing) {
  Step step;
  for (int s = 0; s < 256; ++s) step.add(1, 1500);
  AttentionWork work;
  plan_attention(step.sequences, 0, {1, 18, 8, 528, 4096}, work);
  EXPECT_EQ(work.narrow.size(), 256u);
  EXPECT_TRUE(work.merges.empty());
}

// 528 places of blocks, 8 heads: 66 sequences fill them once.
TEST(AttentionWork, long_sequences_are_cut_only_where_whole_ones_would_leave_blocks_idle) {
  const auto is_cut = [](int sequences, int longest) {
    Step step;
    for (int s = 1; s < sequences; ++s) step.add(1, 1535);
    step.add(1, longest);
    AttentionWork work;
    plan_attention(step.sequences, 0, {1, 18, 8, 528, 4096}, work);
    return !work.merges.empty();
  };
  EXPECT_FALSE(is_cut(66, 1535));
  EXPECT_FALSE(is_cut(62, 1535));
  EXPECT_TRUE(is_cut(50, 1535));
  EXPECT_TRUE(is_cut(70, 1535));
  EXPECT_FALSE(is_cut(128, 1535));
  EXPECT_FALSE(is_cut(64, 1599));
  EXPECT_TRUE(is_cut(64, 3000));
}

// Prompts that came in eight steps of eight: somewhere a page is always being started by some.
TEST(AttentionWork, sequences_that_grow_together_stay_whole_from_step_to_step) {
  for (int context = 1024; context < 2048; ++context) {
    Step step;
    for (int s = 0; s < 64; ++s) step.add(1, context + s / 8);
    AttentionWork work;
    plan_attention(step.sequences, 0, {1, 18, 8, 528, 4096}, work);
    ASSERT_TRUE(work.merges.empty()) << context;
  }
}

TEST(AttentionWork, rows_that_decode_are_finished_by_their_blocks_where_they_are_whole_or_few) {
  const auto finishes = [](int sequences, int num_tokens = 1) {
    Step step;
    for (int s = 1; s < sequences; ++s) step.add(1, 1535);
    step.add(num_tokens, 1535);
    AttentionWork work;
    plan_attention(step.sequences, 0, {1, 18, 8, 528, 4096}, work);
    return work.finishes;
  };
  EXPECT_TRUE(finishes(1));
  EXPECT_TRUE(finishes(48));
  EXPECT_FALSE(finishes(49));
  EXPECT_TRUE(finishes(64));
  EXPECT_FALSE(finishes(100));
  EXPECT_TRUE(finishes(200));
  EXPECT_FALSE(finishes(48, 2));
  EXPECT_FALSE(finishes(64, 100));
}

TEST(AttentionWork, workspace_is_a_formula_of_the_limits) {
  const AttentionShape scout{40, 8, 128, model::KvDtype::kFp8E4m3};
  EXPECT_EQ(max_attention_partials(1, 1000), 2);
  EXPECT_EQ(max_attention_partials(256, 200000), 4096);
  EXPECT_EQ(attention_workspace_bytes(scout, 2), 2 * 40 * 130 * 4);
}

}  // namespace
}  // namespace outrider::cuda

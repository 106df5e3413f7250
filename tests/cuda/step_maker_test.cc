// Host parts of CUDA graphs: when two steps have equal launches, and that rounding to classes keeps what
// kernels read.
#include "cuda/step_maker.h"

#include <gtest/gtest.h>

#include <random>

#include "cuda/recent_map.h"
#include "cuda/step_graphs.h"

namespace outrider::cuda {
namespace {

using runner::StepPlan;

constexpr int kGroups = 4, kMaxLen = 131072, kMaxSeqs = 16, kMaxRows = 256;

// Scout's shape. The "device" is the host memory that the block is written to.
class Written {
 public:
  explicit Written(int max_graph_rows)
      : bytes_(StepMaker::block_bytes({kMaxRows, 64, kMaxSeqs, kMaxLen}, kGroups, 10)),
        memory_(bytes_),
        block_(memory_.data(), memory_.data(), bytes_),
        maker_(shape(max_graph_rows)) {}

  Step make(const StepPlan& plan) {
    block_.clear();
    return maker_.make(plan, block_);
  }
  StepLaunches launches(const StepPlan& plan) {
    StepLaunches launches{make(plan)};
    launches.logit_rows = block_.put(std::vector<int32_t>(plan.sequences.size()));
    launches.num_logit_rows = static_cast<int>(plan.sequences.size());
    return launches;
  }

 private:
  static StepShape shape(int max_graph_rows) {
    StepShape shape;
    shape.kv.chunk_size = 8192;
    shape.kv.group_is_chunked = {false, true, true, true};
    shape.attention = {40, 8, 128, model::KvDtype::kFp8E4m3};
    shape.tiling = {1, 24, 8, 528, max_attention_partials(kMaxSeqs, kMaxLen)};
    shape.num_sms = 132;
    shape.max_model_len = kMaxLen;
    shape.max_graph_rows = max_graph_rows;
    return shape;
  }

  size_t bytes_;
  std::vector<char> memory_;
  StepBlock block_;
  StepMaker maker_;
};

// A sequence's new tokens begin at its position.
StepPlan plan_of(const std::vector<int>& positions, const std::vector<int>& num_tokens, unsigned seed = 1) {
  std::mt19937 random(seed);
  StepPlan plan;
  for (size_t s = 0; s < positions.size(); ++s) {
    plan.sequences.push_back({.slot = static_cast<int32_t>(s),
                              .num_computed = positions[s],
                              .num_tokens = num_tokens[s],
                              .first_token = static_cast<int32_t>(plan.tokens.size()),
                              .sample = true});
    for (int i = 0; i < num_tokens[s]; ++i) plan.tokens.push_back(static_cast<int32_t>(random() % 1000));
    plan.blocks_per_row =
        std::max(plan.blocks_per_row, (positions[s] + num_tokens[s] - 1) / kPagePositions + 1);
  }
  plan.pages.resize(positions.size() * kGroups * plan.blocks_per_row);
  for (int32_t& page : plan.pages) page = static_cast<int32_t>(random() % 100000);
  return plan;
}
StepPlan decode(const std::vector<int>& positions, unsigned seed = 1) {
  return plan_of(positions, std::vector<int>(positions.size(), 1), seed);
}

TEST(StepMaker, decode_steps_recur_until_a_context_reaches_the_next_class) {
  Written written(8);
  const auto same = [&](const std::vector<int>& a, const std::vector<int>& b) {
    return written.launches(decode(a, 1)) == written.launches(decode(b, 2));
  };
  EXPECT_TRUE(same({0}, {511}));
  EXPECT_TRUE(same({512}, {1023}));
  EXPECT_TRUE(same({700, 1023}, {1000, 3}));  // the longest decides
  EXPECT_TRUE(same({5000}, {8000}));
  EXPECT_TRUE(same({5000, 6000, 7000}, {7000, 7700, 8100}));
  EXPECT_TRUE(same({70000}, {70511}));
  EXPECT_FALSE(same({511}, {512}));                 // blocks of a cluster
  EXPECT_FALSE(same({4095}, {4096}));               // attend_few() or tiles
  EXPECT_FALSE(same({8191}, {8192}));               // a new chunk
  EXPECT_FALSE(same({16383}, {16384}));             // pages of a sequence
  EXPECT_FALSE(same({100}, {100, 100}));            // rows
  EXPECT_FALSE(same({30000, 10}, {32767, 33000}));  // room for tiles
}

TEST(StepMaker, prompts_and_more_rows_than_graphs_have_do_not_recur) {
  Written written(2), eager(0);
  EXPECT_TRUE(written.make(decode({1, 2})).recurs);
  EXPECT_FALSE(written.make(decode({1, 2, 3})).recurs);
  EXPECT_FALSE(written.make(plan_of({0, 9}, {1, 2})).recurs);
  EXPECT_FALSE(written.make(plan_of({0}, {2})).recurs);
  EXPECT_FALSE(eager.make(decode({1})).recurs);
}

// Every field of the key counts: a change of any one is another step.
TEST(StepMaker, launches_are_compared_whole) {
  Written written(8);
  const StepLaunches step = written.launches(decode({5000, 9000}));
  ASSERT_EQ(step, step);
  const auto differs = [&](auto&& change) {
    StepLaunches other = step;
    change(other);
    return !(other == step);
  };
  EXPECT_TRUE(differs([](StepLaunches& s) { ++s.num_logit_rows; }));
  EXPECT_TRUE(differs([](StepLaunches& s) { ++s.logit_rows; }));
  EXPECT_TRUE(differs([](StepLaunches& s) { ++s.step.last_token; }));
  EXPECT_TRUE(differs([](StepLaunches& s) { ++s.step.row_range; }));
  EXPECT_TRUE(differs([](StepLaunches& s) { ++s.step.batch.num_rows; }));
  EXPECT_TRUE(differs([](StepLaunches& s) { ++s.step.batch.blocks_per_row; }));
  EXPECT_TRUE(differs([](StepLaunches& s) { ++s.step.batch.pages; }));
  EXPECT_TRUE(differs([](StepLaunches& s) { ++s.step.full.decode_runs; }));
  EXPECT_TRUE(differs([](StepLaunches& s) { s.step.full.finishes = false; }));
  EXPECT_TRUE(differs([](StepLaunches& s) { ++s.step.chunked.num_merges; }));
  EXPECT_TRUE(differs([](StepLaunches& s) { ++s.step.chunked.narrow; }));
  EXPECT_TRUE(differs([](StepLaunches& s) { s.step.full.has_wide = true; }));
}

std::vector<int32_t> ints(const int32_t* values, size_t count) { return {values, values + count}; }

template <typename T>
std::string bytes_of(const T* values, size_t count) {
  return {reinterpret_cast<const char*>(values), sizeof(T) * count};
}

void expect_same_lists(const AttentionLists& got, const AttentionLists& exact, bool recurs) {
  EXPECT_EQ(got.chunk_size, exact.chunk_size);
  EXPECT_EQ(got.decode_runs, exact.decode_runs);
  EXPECT_EQ(got.finishes, exact.finishes);
  EXPECT_EQ(got.has_narrow, exact.has_narrow);
  EXPECT_EQ(got.has_wide, exact.has_wide);
  EXPECT_EQ(got.num_merges > 0, exact.num_merges > 0);
  EXPECT_GE(got.num_merges, exact.num_merges);
  EXPECT_TRUE(recurs || got.num_merges == exact.num_merges);
  ASSERT_EQ(got.counts == nullptr, exact.counts == nullptr);
  if (!got.counts) return;
  ASSERT_EQ(ints(got.counts, 3), ints(exact.counts, 3));
  EXPECT_EQ(exact.counts[2], exact.num_merges);
  EXPECT_EQ(bytes_of(got.narrow, got.counts[0]), bytes_of(exact.narrow, exact.counts[0]));
  EXPECT_EQ(bytes_of(got.wide, got.counts[1]), bytes_of(exact.wide, exact.counts[1]));
  EXPECT_EQ(bytes_of(got.merges, got.counts[2]), bytes_of(exact.merges, exact.counts[2]));
}

TEST(StepMaker, rounding_keeps_every_value_that_kernels_read) {
  Written rounded(kMaxSeqs), exact(0);
  std::mt19937 random(3);
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  int recurring = 0;
  for (int i = 0; i < 400; ++i) {
    std::vector<int> positions, num_tokens;
    const int sequences = 1 + below(kMaxSeqs), longest = 1 << below(17);
    const bool prompts = below(3) == 0;
    for (int s = 0; s < sequences; ++s) {
      positions.push_back(below(longest));
      num_tokens.push_back(prompts ? 1 + below(12) : 1);
    }
    if (below(20) == 0) positions[0] = kMaxLen - num_tokens[0];
    const StepPlan plan = plan_of(positions, num_tokens, i);
    SCOPED_TRACE(testing::Message() << "step " << i);
    const Step got = rounded.make(plan), expected = exact.make(plan);
    recurring += got.recurs;
    ASSERT_EQ(got.batch.num_rows, expected.batch.num_rows);
    ASSERT_EQ(got.batch.num_sequences, sequences);
    const size_t rows = plan.tokens.size();
    EXPECT_EQ(ints(got.batch.tokens, rows), plan.tokens);
    EXPECT_EQ(ints(got.batch.positions, rows), ints(expected.batch.positions, rows));
    EXPECT_EQ(ints(got.batch.sequence_of_row, rows), ints(expected.batch.sequence_of_row, rows));
    EXPECT_EQ(bytes_of(got.batch.sequences, sequences), bytes_of(expected.batch.sequences, sequences));
    EXPECT_EQ(ints(got.row_range, 2), ints(expected.row_range, 2));
    ASSERT_EQ(got.batch.num_groups, kGroups);
    ASSERT_EQ(expected.batch.blocks_per_row, plan.blocks_per_row);
    for (int row = 0; row < sequences * kGroups; ++row) {
      ASSERT_EQ(ints(got.batch.pages + int64_t{row} * got.batch.blocks_per_row, plan.blocks_per_row),
                ints(plan.pages.data() + int64_t{row} * plan.blocks_per_row, plan.blocks_per_row));
    }
    expect_same_lists(got.full, expected.full, got.recurs);
    expect_same_lists(got.chunked, expected.chunked, got.recurs);
  }
  EXPECT_GT(recurring, 150);
}

TEST(RecentMap, drops_what_was_used_longest_ago) {
  RecentMap<int, std::unique_ptr<int>> map(3);
  for (int key : {1, 2, 3}) map.insert(key, std::make_unique<int>(10 * key));
  ASSERT_NE(map.find(1), nullptr);
  EXPECT_EQ(*map.insert(4, std::make_unique<int>(40)), 40);
  EXPECT_EQ(map.size(), 3u);
  EXPECT_EQ(map.find(2), nullptr);
  for (int key : {1, 3, 4}) EXPECT_EQ(**map.find(key), 10 * key);
}

}  // namespace
}  // namespace outrider::cuda

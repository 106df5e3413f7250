// Steps as CUDA graphs: which are captured, how many there are, and that the runner's logits and tokens are
// those of kernel by kernel.
#include "cuda/step_graphs.h"

#include <gtest/gtest.h>

#include <bit>

#include "cuda/cuda_runner.h"
#include "cuda/kv_cache.h"
#include "cuda/needs_gpu.h"
#include "cuda/tiny_model.h"

namespace outrider::cuda {
namespace {

using runner::StepPlan;
using runner::StepResult;
using sampling::PositionLogprobs;
using sampling::SamplingParams;

StepLaunches step_of(int rows, bool recurs = true) {
  StepLaunches step;
  step.step.recurs = recurs;
  step.step.batch.num_rows = rows;
  return step;
}

TEST(StepGraphs, a_step_is_launched_kernel_by_kernel_where_nothing_can_be_captured) {
  if (has_hopper()) GTEST_SKIP() << "this machine has a GPU";
  int launched = 0;
  StepGraphs graphs(8, [&](const StepLaunches&, cudaStream_t) { ++launched; });
  for (int i = 0; i < 2 * StepGraphs::kPatience; ++i) graphs.run(step_of(1), nullptr);
  EXPECT_EQ(launched, 2 * StepGraphs::kPatience);
  EXPECT_EQ(graphs.size(), 0u);
}

// The launches of a step: a count, in place of kernels.
class Counted {
 public:
  explicit Counted(size_t capacity)
      : memory_(4), graphs_(capacity, [this](const StepLaunches& step, cudaStream_t stream) {
          ++calls;
          if (step.step.batch.num_rows == kFails) throw DeviceError("this one fails");
          check(cudaMemsetAsync(memory_.as<void>(), step.step.batch.num_rows, 1, stream), "cudaMemsetAsync");
        }) {}

  // What is in memory after the step.
  int run(const StepLaunches& step) {
    check(cudaMemsetAsync(memory_.as<void>(), 0xFF, 1, stream_), "cudaMemsetAsync");
    graphs_.run(step, stream_);
    uint8_t value = 0;
    check(cudaMemcpyAsync(&value, memory_.as<void>(), 1, cudaMemcpyDeviceToHost, stream_), "cudaMemcpyAsync");
    stream_.wait();
    return value;
  }
  void capture(const StepLaunches& step) { graphs_.capture(step, stream_); }
  const StepGraphs& graphs() const { return graphs_; }

  static constexpr int kFails = 99;
  int calls = 0;

 private:
  Stream stream_;
  DeviceBuffer memory_;
  StepGraphs graphs_;
};

TEST(StepGraphs, a_step_that_comes_again_and_again_becomes_a_graph) {
  NEEDS_GPU();
  Counted counted(8);
  for (int i = 0; i < 40; ++i) ASSERT_EQ(counted.run(step_of(5)), 5);
  EXPECT_EQ(counted.calls, StepGraphs::kPatience);  // the last one was recorded
  EXPECT_EQ(counted.graphs().captures(), 1u);
  EXPECT_EQ(counted.graphs().launches(), 40u - StepGraphs::kPatience + 1);
  for (int i = 0; i < 40; ++i) ASSERT_EQ(counted.run(step_of(6 + i % 2)), 6 + i % 2);
  for (int i = 0; i < 40; ++i) ASSERT_EQ(counted.run(step_of(9, false)), 9);
  EXPECT_EQ(counted.graphs().captures(), 1u);
}

TEST(StepGraphs, there_are_never_more_than_their_number) {
  NEEDS_GPU();
  Counted counted(5);
  for (int round = 0; round < 3; ++round) {
    for (int rows = 1; rows <= 12; ++rows) {
      counted.capture(step_of(rows));
      ASSERT_EQ(counted.run(step_of(rows)), rows);
      ASSERT_LE(counted.graphs().size(), 5u);
    }
  }
  EXPECT_EQ(counted.graphs().captures(), 36u);
  EXPECT_EQ(counted.graphs().launches(), 36u);
}

TEST(StepGraphs, after_a_failed_capture_steps_go_on_without_more_of_them) {
  NEEDS_GPU();
  Counted counted(8);
  counted.capture(step_of(1));
  counted.capture(step_of(Counted::kFails));
  counted.capture(step_of(2));
  EXPECT_EQ(counted.graphs().size(), 1u);
  EXPECT_EQ(counted.run(step_of(1)), 1);
  EXPECT_EQ(counted.run(step_of(2)), 2);
  EXPECT_EQ(counted.graphs().launches(), 1u);
}

// A sequence whose prompt comes in step `begin` and which samples `tokens`.
struct Sequence {
  int prompt = 0, begin = 0, tokens = 0;
};

struct Output {
  std::vector<int32_t> tokens;
  std::vector<PositionLogprobs> logits;  // of the whole vocabulary
};

constexpr int kMaxLen = 5120, kMaxTokens = 8192, kBlocks = kMaxLen / kPagePositions, kVocab = 1024;

class Generator {
 public:
  Generator(const std::shared_ptr<const model::Model>& model, model::KvDtype dtype, int slots,
            const std::vector<int>& graph_rows) {
    model::MemoryPlan plan;
    plan.kv = model::make_kv_geometry(model->config, kPagePositions, dtype);
    groups_ = plan.kv.num_groups();
    plan.kv.num_blocks = slots * groups_ * kBlocks;
    runner_ = make_cuda_runner(model, plan, {slots, kMaxTokens, kMaxLen, 0, -1, graph_rows});
    SamplingParams params;
    params.temperature = 0.7;
    params.seed = 5;
    params.logprobs = kVocab;
    params.logprobs_are_logits = true;
    params_ = std::make_shared<SamplingParams>(params);
  }

  // Two steps in flight, as the engine keeps them.
  std::vector<Output> run(const std::vector<Sequence>& sequences) {
    outputs_.assign(sequences.size(), {});
    int steps = 0;
    for (const Sequence& s : sequences) steps = std::max(steps, s.begin + s.tokens);
    for (int step = 0; step < steps; ++step) {
      StepPlan plan;
      std::vector<int> members;
      for (int i = 0; i < static_cast<int>(sequences.size()); ++i) {
        const Sequence& s = sequences[i];
        if (step < s.begin || step >= s.begin + s.tokens) continue;
        add(s, i, step - s.begin, plan);
        members.push_back(i);
      }
      write_pages(members, plan);
      members_.push_back(members);
      decode_steps_ += members.size() == plan.tokens.size();
      runner_->submit(std::move(plan));
      if (members_.size() == 2) collect();
    }
    while (!members_.empty()) collect();
    return outputs_;
  }

  GraphCounts graphs() const { return graph_counts(*runner_); }
  uint64_t decode_steps() const { return decode_steps_; }

 private:
  void add(const Sequence& s, int slot, int number, StepPlan& plan) {
    runner::SequenceStep step;
    step.slot = slot;
    step.first_token = static_cast<int32_t>(plan.tokens.size());
    step.num_tokens = number == 0 ? s.prompt : 1;
    step.num_computed = number == 0 ? 0 : s.prompt + number - 1;
    step.sample = true;
    step.output_index = number;
    plan.sequences.push_back(step);
    plan.blocks_per_row = std::max(
        plan.blocks_per_row, (step.num_computed + step.num_tokens + kPagePositions - 1) / kPagePositions);
    if (number > 0) return plan.tokens.push_back(runner::kTokenFromDevice);
    std::vector<int32_t> prompt;
    for (int i = 0; i < s.prompt; ++i) prompt.push_back((i * 7 + slot * 131) % 1000);
    plan.tokens.insert(plan.tokens.end(), prompt.begin(), prompt.end());
    plan.bindings.push_back({slot, params_, std::move(prompt), {}});
  }

  void write_pages(const std::vector<int>& slots, StepPlan& plan) const {
    for (const int slot : slots) {
      for (int group = 0; group < groups_; ++group) {
        for (int b = 0; b < plan.blocks_per_row; ++b)
          plan.pages.push_back((slot * groups_ + group) * kBlocks + b);
      }
    }
  }

  void collect() {
    StepResult result = runner_->collect();
    ASSERT_EQ(result.error, "");
    for (runner::SampledToken& token : result.sampled) {
      Output& output = outputs_[members_.front()[token.sequence]];
      output.tokens.push_back(token.token);
      output.logits.push_back(std::move(token.logprobs));
    }
    members_.erase(members_.begin());
  }

  std::unique_ptr<runner::Runner> runner_;
  std::shared_ptr<const SamplingParams> params_;
  int groups_ = 0;
  uint64_t decode_steps_ = 0;
  std::vector<std::vector<int>> members_;  // of the steps in flight
  std::vector<Output> outputs_;
};

void expect_same(const std::vector<Output>& got, const std::vector<Output>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "sequence " << i);
    ASSERT_EQ(got[i].tokens, expected[i].tokens);
    ASSERT_EQ(got[i].logits.size(), expected[i].logits.size());
    for (size_t n = 0; n < got[i].logits.size(); ++n) {
      const auto &a = got[i].logits[n].top, &b = expected[i].logits[n].top;
      ASSERT_EQ(a.size(), size_t{kVocab});
      ASSERT_EQ(a.size(), b.size());
      for (size_t j = 0; j < a.size(); ++j) {
        ASSERT_EQ(a[j].token, b[j].token) << "output " << n;
        ASSERT_EQ(std::bit_cast<uint32_t>(a[j].logprob), std::bit_cast<uint32_t>(b[j].logprob))
            << "output " << n;
      }
    }
  }
}

// Contexts that pass the edges of runs, chunks and pages, alone and in company; the company changes.
const std::vector<std::vector<Sequence>> kSchedules = {
    {{500, 0, 60}},
    {{4080, 0, 60}},
    {{1000, 0, 70}, {490, 4, 40}, {3, 30, 50}},
    {{2040, 0, 60},
     {1530, 0, 60},
     {500, 0, 60},
     {60, 0, 60},
     {31, 0, 60},
     {1, 0, 60},
     {700, 0, 60},
     {4, 0, 60}},
    {{100, 0, 50}, {200, 0, 40}, {300, 0, 30}, {400, 0, 20}},
};

void compare(const std::string& form, model::KvDtype dtype) {
  const auto model = load_tiny(form);
  constexpr int kSlots = 8;
  Generator eager(model, dtype, kSlots, {}), graphs(model, dtype, kSlots, {1, 2, 3, 4, 5, 6, 7, 8});
  const uint64_t at_start = graphs.graphs().captures;
  EXPECT_GT(at_start, 8u);
  for (size_t i = 0; i < kSchedules.size(); ++i) {
    SCOPED_TRACE(testing::Message() << form << ", schedule " << i);
    expect_same(graphs.run(kSchedules[i]), eager.run(kSchedules[i]));
  }
  const GraphCounts counts = graphs.graphs();
  EXPECT_GT(counts.launches, graphs.decode_steps() / 2);
  EXPECT_LE(counts.launches, graphs.decode_steps());
  EXPECT_LE(counts.graphs, 96u);
  std::printf("%s: %d graphs at start, %d later, %d of %d decode steps\n", form.c_str(), int(at_start),
              int(counts.captures - at_start), int(counts.launches), int(graphs.decode_steps()));
  EXPECT_EQ(eager.graphs().captures, 0u);
  EXPECT_EQ(eager.graphs().launches, 0u);
}

TEST(StepGraphs, give_the_bits_of_kernel_by_kernel_fp8) {
  NEEDS_GPU();
  compare("tiny-a-fp8", model::KvDtype::kFp8E4m3);
}

TEST(StepGraphs, give_the_bits_of_kernel_by_kernel_bf16) {
  NEEDS_GPU();
  compare("tiny-a-bf16", model::KvDtype::kBf16);
}

TEST(StepGraphs, sizes_that_were_not_captured_at_start_get_theirs_later) {
  NEEDS_GPU();
  const auto model = load_tiny("tiny-a-fp8");
  Generator eager(model, model::KvDtype::kFp8E4m3, 4, {}),
      graphs(model, model::KvDtype::kFp8E4m3, 4, {4, 1000});
  const std::vector<Sequence> three = {{10, 0, 60}, {20, 0, 60}, {30, 0, 60}};
  const uint64_t at_start = graphs.graphs().captures;
  EXPECT_GT(at_start, 0u);
  expect_same(graphs.run(three), eager.run(three));
  EXPECT_EQ(graphs.graphs().captures, at_start + 1);
  EXPECT_EQ(graphs.graphs().launches, 59u - StepGraphs::kPatience + 1);
}

}  // namespace
}  // namespace outrider::cuda

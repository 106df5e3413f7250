// The runner's contract (runner/runner.h) on a GPU: steps in order, tokens fed on by the device, prompt
// logprobs.
#include "cuda/cuda_runner.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cuda/kv_cache.h"
#include "cuda/needs_gpu.h"
#include "cuda/tiny_model.h"

namespace outrider::cuda {
namespace {

using runner::StepPlan;
using runner::StepResult;
using sampling::SamplingParams;

constexpr int kSlots = 12, kMaxLen = 640, kPrompts = 12;

class CudaRunnerTest : public testing::Test {
 protected:
  void SetUp() override {
    NEEDS_GPU();
    model_ = load_tiny("tiny-a-bf16");
    model::MemoryPlan plan;
    plan.kv = model::make_kv_geometry(model_->config, kPagePositions, model::KvDtype::kBf16);
    groups_ = plan.kv.num_groups();
    plan.kv.num_blocks = kSlots * groups_ * kBlocks;
    runner_ = make_cuda_runner(model_, plan, {kSlots, 2048, kMaxLen, 0, 20});
    golden_ = std::make_unique<test::SafetensorsFile>(test::fixture("goldens/tiny-a-bf16.w.safetensors"));
  }

  // Adds a sequence to the plan; slot s owns the s-th part of the pool.
  void add(StepPlan& plan, int slot, int num_computed, const std::vector<int32_t>& tokens, int output_index,
           bool prompt_logprobs = false) {
    runner::SequenceStep s;
    s.slot = slot;
    s.num_computed = num_computed;
    s.num_tokens = static_cast<int>(tokens.size());
    s.first_token = static_cast<int>(plan.tokens.size());
    s.sample = true;
    s.output_index = output_index;
    s.prompt_logprobs = prompt_logprobs;
    plan.sequences.push_back(s);
    plan.tokens.insert(plan.tokens.end(), tokens.begin(), tokens.end());
    for (int i = 0; i < groups_ * kBlocks; ++i) plan.pages.push_back(slot * groups_ * kBlocks + i);
    plan.blocks_per_row = kBlocks;
  }

  std::vector<int32_t> prompt(int p) const { return (*golden_)[key(p, "ids")].ints(); }
  static std::string key(int p, const std::string& what) {
    return (p < 10 ? "p0" : "p") + std::to_string(p) + "." + what;
  }

  static constexpr int kBlocks = kMaxLen / kPagePositions;
  int groups_ = 0;
  std::shared_ptr<const model::Model> model_;
  std::unique_ptr<runner::Runner> runner_;
  std::unique_ptr<test::SafetensorsFile> golden_;
};

TEST_F(CudaRunnerTest, twelve_greedy_requests_at_once_with_two_steps_in_flight_follow_the_goldens) {
  std::vector<std::vector<int32_t>> tokens(kPrompts);
  const auto collect = [&] {
    const StepResult result = runner_->collect();
    ASSERT_EQ(result.error, "");
    ASSERT_EQ(result.sampled.size(), static_cast<size_t>(kPrompts));
    for (const runner::SampledToken& t : result.sampled) tokens[t.sequence].push_back(t.token);
  };
  constexpr int kSteps = 32;
  for (int step = 0; step < kSteps; ++step) {
    StepPlan plan;
    for (int p = 0; p < kPrompts; ++p) {
      const std::vector<int32_t> ids = prompt(p);
      if (step == 0) {
        SamplingParams params;
        params.temperature = 0.0;
        plan.bindings.push_back({p, std::make_shared<SamplingParams>(params), ids, {}});
        add(plan, p, 0, ids, 0);
      } else {
        add(plan, p, static_cast<int>(ids.size()) + step - 1, {runner::kTokenFromDevice}, step);
      }
    }
    runner_->submit(std::move(plan));
    if (step > 0) collect();
  }
  collect();
  int breaks = 0;
  for (int p = 0; p < kPrompts; ++p) {
    const std::vector<int32_t> expected = (*golden_)[key(p, "greedy_ids")].ints();
    const std::vector<float> gap = (*golden_)[key(p, "greedy_gap")].floats();
    for (int step = 0; step < kSteps && gap[step] >= 0.4f; ++step) {
      if (tokens[p][step] != expected[step]) {
        ++breaks;
        break;
      }
    }
  }
  EXPECT_LE(breaks, 1);
}

TEST_F(CudaRunnerTest, prompt_logprobs_are_those_of_the_goldens) {
  double sum = 0.0;
  int count = 0;
  for (int p = 1; p < kPrompts; ++p) {
    SamplingParams params;
    params.prompt_logprobs = 1;
    StepPlan plan;
    plan.bindings.push_back({0, std::make_shared<SamplingParams>(params), prompt(p), {}});
    add(plan, 0, 0, prompt(p), 0, true);
    runner_->submit(std::move(plan));
    const StepResult result = runner_->collect();
    ASSERT_EQ(result.error, "");
    const std::vector<float> expected = (*golden_)[key(p, "logprobs")].floats();
    ASSERT_EQ(result.prompt.size(), 1u);
    ASSERT_EQ(result.prompt[0].positions.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i, ++count) {
      sum += std::fabs(result.prompt[0].positions[i].chosen.logprob - expected[i]);
      EXPECT_EQ(result.prompt[0].positions[i].chosen.token, prompt(p)[i + 1]);
    }
  }
  EXPECT_LE(sum / count, 0.09);
}

}  // namespace
}  // namespace outrider::cuda

// The runner's contract (runner/runner.h): steps in order, tokens from the device, logprobs, masks.
#include "cpu/cpu_runner.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "cpu/tiny_model.h"

namespace outrider::test {
namespace {

using runner::kTokenFromDevice;
using runner::StepPlan;
using runner::StepResult;
using sampling::SamplingParams;

class CpuRunnerTest : public testing::Test {
 protected:
  static constexpr int kSlots = 4, kMaxLen = 128;

  CpuRunnerTest() : model_(load_tiny("tiny-a-fp8")) {}

  std::unique_ptr<runner::Runner> make(int valid_vocab = 0, int threads = 2) {
    model::MemoryPlan plan;
    plan.kv = model::make_kv_geometry(model_->config, 16, model::KvDtype::kBf16);
    blocks_ = kMaxLen / 16;
    plan.kv.num_blocks = kSlots * plan.kv.num_groups() * blocks_;
    cpu::CpuOptions options;
    options.num_threads = threads;
    options.max_num_seqs = kSlots;
    options.max_num_batched_tokens = 256;
    options.valid_vocab = valid_vocab;
    return make_cpu_runner(model_, plan, options);
  }

  // Adds a sequence to the plan; slot s owns the s-th part of the pool.
  void add(StepPlan& plan, int slot, int num_computed, const std::vector<int32_t>& tokens, bool sample,
           int output_index = 0) {
    runner::SequenceStep s;
    s.slot = slot;
    s.num_computed = num_computed;
    s.num_tokens = static_cast<int>(tokens.size());
    s.first_token = static_cast<int>(plan.tokens.size());
    s.sample = sample;
    s.output_index = output_index;
    plan.sequences.push_back(s);
    plan.tokens.insert(plan.tokens.end(), tokens.begin(), tokens.end());
    const int groups = static_cast<int>(model_->config.num_layers) / layers_per_group();
    for (int i = 0; i < groups * blocks_; ++i) plan.pages.push_back(slot * groups * blocks_ + i);
    plan.blocks_per_row = blocks_;
  }
  void bind(StepPlan& plan, int slot, SamplingParams params, std::vector<int32_t> prompt,
            std::vector<int32_t> output = {}) {
    plan.bindings.push_back(
        {slot, std::make_shared<SamplingParams>(std::move(params)), std::move(prompt), std::move(output)});
  }
  int layers_per_group() const {
    return model::make_kv_geometry(model_->config, 16, model::KvDtype::kBf16).layers_per_group;
  }

  static SamplingParams greedy() {
    SamplingParams params;
    params.temperature = 0.0;
    return params;
  }
  static std::vector<int32_t> prompt(int n, int seed) {
    std::vector<int32_t> ids;
    for (int i = 0; i < n; ++i) ids.push_back((i * 37 + seed * 101 + 5) % 1000);
    return ids;
  }

  // Greedy tokens of one prompt, one step at a time.
  std::vector<int32_t> generate(runner::Runner& runner, const std::vector<int32_t>& ids,
                                SamplingParams params, int n) {
    std::vector<int32_t> out;
    StepPlan first;
    bind(first, 0, std::move(params), ids);
    add(first, 0, 0, ids, true);
    runner.submit(first);
    out.push_back(runner.collect().sampled.at(0).token);
    while (static_cast<int>(out.size()) < n) {
      StepPlan plan;
      add(plan, 0, static_cast<int>(ids.size() + out.size()) - 1, {out.back()}, true,
          static_cast<int>(out.size()));
      runner.submit(plan);
      out.push_back(runner.collect().sampled.at(0).token);
    }
    return out;
  }

  std::shared_ptr<const model::Model> model_;
  int blocks_ = 0;
};

TEST_F(CpuRunnerTest, TwoStepsInFlightTakeTheTokenFromTheDeviceAndGiveTheSameOutput) {
  const auto ids = prompt(20, 1);
  auto runner = make();
  const auto expected = generate(*runner, ids, greedy(), 12);

  std::vector<int32_t> out;
  for (int step = 0; step < 12; ++step) {
    StepPlan plan;
    plan.id = 100 + step;
    if (step == 0) {
      bind(plan, 1, greedy(), ids);
      add(plan, 1, 0, ids, true);
    } else {
      add(plan, 1, 19 + step, {kTokenFromDevice}, true, step);
    }
    runner->submit(std::move(plan));
    if (step >= 1) {
      const StepResult result = runner->collect();
      EXPECT_EQ(result.id, 100u + step - 1);
      EXPECT_TRUE(result.error.empty());
      out.push_back(result.sampled.at(0).token);
    }
  }
  out.push_back(runner->collect().sampled.at(0).token);
  EXPECT_EQ(out, expected);
}

TEST_F(CpuRunnerTest, ChunkedPrefillBesideADecodeSamplesOnlyWhereAsked) {
  const auto a = prompt(40, 2), b = prompt(10, 3);
  auto runner = make();
  const auto expected_a = generate(*runner, a, greedy(), 1), expected_b = generate(*runner, b, greedy(), 2);

  StepPlan first;
  bind(first, 2, greedy(), a);
  bind(first, 3, greedy(), b);
  add(first, 2, 0, {a.begin(), a.begin() + 17}, false);
  add(first, 3, 0, b, true);
  runner->submit(first);
  StepPlan second;
  add(second, 3, 10, {kTokenFromDevice}, true, 1);
  add(second, 2, 17, {a.begin() + 17, a.end()}, true);
  runner->submit(second);

  const StepResult one = runner->collect(), two = runner->collect();
  ASSERT_EQ(one.sampled.size(), 1u);
  EXPECT_EQ(one.sampled[0].sequence, 1);
  EXPECT_EQ(one.sampled[0].token, expected_b[0]);
  ASSERT_EQ(two.sampled.size(), 2u);
  EXPECT_EQ(two.sampled[0].token, expected_b[1]);
  EXPECT_EQ(two.sampled[1].token, expected_a[0]);
}

TEST_F(CpuRunnerTest, SeededSamplingDoesNotDependOnCompanyOrThreads) {
  SamplingParams params;
  params.seed = 1234;
  params.top_p = 0.95;
  const auto ids = prompt(15, 4);
  auto two_threads = make(), one_thread = make(0, 1);
  const auto expected = generate(*two_threads, ids, params, 8);
  EXPECT_EQ(generate(*one_thread, ids, params, 8), expected);
  params.seed = 1235;
  EXPECT_NE(generate(*one_thread, ids, params, 8), expected);

  params.seed = 1234;
  std::vector<int32_t> out;
  for (int step = 0; step < 8; ++step) {
    StepPlan plan;
    for (int slot = 0; slot < 4; ++slot) {
      SamplingParams own = params;
      own.seed += slot == 2 ? 0 : 50 + slot;
      if (step == 0) {
        bind(plan, slot, own, slot == 2 ? ids : prompt(15, 10 + slot));
        add(plan, slot, 0, slot == 2 ? ids : prompt(15, 10 + slot), true);
      } else {
        add(plan, slot, 14 + step, {kTokenFromDevice}, true, step);
      }
    }
    two_threads->submit(plan);
    out.push_back(two_threads->collect().sampled.at(2).token);
  }
  EXPECT_EQ(out, expected);
}

TEST_F(CpuRunnerTest, PromptLogprobsEqualTheGoldensAcrossTwoSteps) {
  const SafetensorsFile golden(fixture("goldens/tiny-a-fp8.w.safetensors"));
  const std::vector<int32_t> ids = golden["p08.ids"].ints();
  const std::vector<float> expected = golden["p08.logprobs"].floats();
  const std::vector<int32_t> top_ids = golden["p08.top5_ids"].ints();
  SamplingParams params = greedy();
  params.prompt_logprobs = 3;
  params.logprobs = 2;
  auto runner = make();
  StepPlan first, second;
  bind(first, 0, params, ids);
  add(first, 0, 0, {ids.begin(), ids.begin() + 50}, false);
  first.sequences[0].prompt_logprobs = true;
  first.sequences[0].next_prompt_token = ids[50];
  add(second, 0, 50, {ids.begin() + 50, ids.end()}, true);
  second.sequences[0].prompt_logprobs = true;
  runner->submit(first);
  runner->submit(second);
  std::vector<sampling::PositionLogprobs> all;
  StepResult result;
  for (int step = 0; step < 2; ++step) {
    result = runner->collect();
    ASSERT_EQ(result.prompt.size(), 1u);
    EXPECT_EQ(result.prompt[0].sequence, 0);
    all.insert(all.end(), result.prompt[0].positions.begin(), result.prompt[0].positions.end());
  }
  ASSERT_EQ(all.size(), expected.size());
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i].chosen.token, ids[i + 1]);
    EXPECT_NEAR(all[i].chosen.logprob, expected[i], 0.1) << i;  // bf16 cache
    EXPECT_EQ(all[i].top.size(), 3u);
  }
  EXPECT_EQ(all[0].top[0].token, top_ids[0]);
  ASSERT_EQ(result.sampled.size(), 1u);
  ASSERT_TRUE(result.sampled[0].has_logprobs);
  EXPECT_EQ(result.sampled[0].logprobs.top.size(), 2u);
  EXPECT_EQ(result.sampled[0].logprobs.top[0].token, result.sampled[0].token);
  EXPECT_EQ(result.sampled[0].logprobs.chosen.rank, 1);
}

TEST_F(CpuRunnerTest, IdsWithoutATokenAreNeverSampled) {
  SamplingParams params;
  params.temperature = 50.0;  // nearly uniform
  for (int valid : {1, 20, 1000}) {
    auto runner = make(valid);
    for (int32_t token : generate(*runner, prompt(3, 5), params, 30)) EXPECT_LT(token, valid);
  }
}

TEST_F(CpuRunnerTest, ASlotBoundAgainAfterPreemptionContinuesAsBefore) {
  SamplingParams params;
  params.seed = 9;
  params.repetition_penalty = 1.5;
  params.presence_penalty = 0.5;
  const auto ids = prompt(12, 6);
  auto runner = make();
  const auto expected = generate(*runner, ids, params, 10);

  // After six tokens everything is recomputed in another slot, prompt and output together.
  std::vector<int32_t> all = ids;
  all.insert(all.end(), expected.begin(), expected.begin() + 6);
  StepPlan plan;
  bind(plan, 3, params, ids, {expected.begin(), expected.begin() + 6});
  add(plan, 3, 0, all, true, 6);
  runner->submit(plan);
  std::vector<int32_t> out{runner->collect().sampled.at(0).token};
  for (int i = 7; i < 10; ++i) {
    StepPlan next;
    add(next, 3, 12 + i - 1, {kTokenFromDevice}, true, i);
    runner->submit(next);
    out.push_back(runner->collect().sampled.at(0).token);
  }
  EXPECT_EQ(out, std::vector<int32_t>(expected.begin() + 6, expected.end()));
}

TEST_F(CpuRunnerTest, DestructionWithStepsInFlightIsClean) {
  for (int i = 0; i < 5; ++i) {
    auto runner = make();
    StepPlan plan;
    bind(plan, 0, greedy(), prompt(30, i));
    add(plan, 0, 0, prompt(30, i), true);
    runner->submit(plan);
    runner->submit(plan);
  }
}

}  // namespace
}  // namespace outrider::test

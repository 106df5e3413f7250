#include "bench/offline.h"

#include <gmock/gmock.h>

#include <atomic>
#include <csignal>
#include <deque>
#include <set>

#include "base/error.h"
#include "bench/latency_bench.h"
#include "bench/throughput_bench.h"
#include "cases.h"
#include "config/offline_options.h"

namespace outrider::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Samples token 100 for whoever asks.
class ConstantRunner : public runner::Runner {
 public:
  void submit(runner::StepPlan plan) override {
    for (const runner::SlotBinding& binding : plan.bindings) {
      max_tokens.insert(binding.params->max_tokens);
      seeds.insert(binding.params->seed);
      ignored_eos = ignored_eos && binding.params->ignore_eos;
    }
    runner::StepResult result{.id = plan.id};
    for (size_t i = 0; i < plan.sequences.size(); ++i) {
      if (plan.sequences[i].sample) result.sampled.push_back({static_cast<int32_t>(i), 100, false, {}});
    }
    if (++num_steps_ == failing_step) result.error = "out of luck";
    if (num_steps_ == interrupting_step) std::raise(SIGINT);
    results_.push_back(std::move(result));
  }
  runner::StepResult collect() override {
    runner::StepResult result = std::move(results_.front());
    results_.pop_front();
    return result;
  }
  const model::KvGeometry& kv() const override { return kv_; }

  std::atomic<int> failing_step{-1}, interrupting_step{-1};
  // Of the engine's thread; read when nothing runs any more.
  std::set<int64_t> max_tokens;
  std::set<uint64_t> seeds;
  bool ignored_eos = true;

 private:
  const model::KvGeometry kv_ = {.block_size = 4,
                                 .num_blocks = 256,
                                 .layers_per_group = 1,
                                 .group_of_layer = {0},
                                 .index_in_group = {0},
                                 .group_is_chunked = {false}};
  int num_steps_ = 0;
  std::deque<runner::StepResult> results_;
};

class Offline : public testing::Test {
 protected:
  OfflineSetup setup(int64_t num_answers = 1, bool detokenize = true) {
    return {engine_, pocket(), num_answers, detokenize, 7};
  }
  OfflineResult run(const std::vector<OfflineRequest>& requests, int64_t num_answers = 1) {
    const Interrupt interrupt;
    return run_offline(setup(num_answers), requests, interrupt, [this] { ++num_advanced_; });
  }

  ConstantRunner* runner_ = new ConstantRunner;  // the engine's
  engine::Engine engine_{std::unique_ptr<runner::Runner>(runner_),
                         {.max_model_len = 64, .max_num_seqs = 4, .max_num_batched_tokens = 32},
                         nullptr};
  int num_advanced_ = 0;
};

TEST_F(Offline, EveryPromptIsAnsweredInItsLengthAndCounted) {
  const OfflineResult result = run({{{1, 2, 3}, 5}, {{4}, 1}, {std::vector<int32_t>(40, 9), 20}});
  EXPECT_EQ(result.num_finished, 3);
  EXPECT_EQ(result.prompt_tokens, 44);
  EXPECT_EQ(result.output_tokens, 26);
  EXPECT_EQ(num_advanced_, 3);
  EXPECT_GT(result.seconds, 0);
  EXPECT_THAT(runner_->max_tokens, ElementsAre(1, 5, 20));
  EXPECT_TRUE(runner_->ignored_eos);
}

TEST_F(Offline, SeveralAnswersToAPromptAreOneRequestWithItsPromptCountedOnce) {
  const OfflineResult result = run({{{1, 2, 3}, 5}, {{4, 5}, 4}}, 3);
  EXPECT_EQ(result.num_finished, 2);
  EXPECT_EQ(result.prompt_tokens, 5);
  EXPECT_EQ(result.output_tokens, 27);
  EXPECT_EQ(runner_->seeds.size(), 6);
}

TEST_F(Offline, AnEngineThatFailsIsAnErrorOfOneLine) {
  runner_->failing_step = 3;
  try {
    run({{{1}, 50}, {{2}, 50}});
    FAIL() << "no error";
  } catch (const StartupError& error) {
    EXPECT_THAT(error.what(), HasSubstr("out of luck"));
    EXPECT_EQ(error.exit_code(), 1);
  }
}

TEST_F(Offline, CtrlCEndsARunAndKeepsWhatFinished) {
  runner_->interrupting_step = 12;
  const OfflineResult result = run({{{1}, 2}, {{2}, 60}, {{3}, 60}});
  // The signal is looked at now and then: what ends before that counts.
  EXPECT_GE(result.num_finished, 1);
  EXPECT_EQ(num_advanced_, result.num_finished);
}

TEST_F(Offline, LengthsThatTheModelDoesNotHaveAreRefused) {
  EXPECT_NO_THROW(check_lengths(engine_, 60, 4));
  EXPECT_THROW(check_lengths(engine_, 60, 5), UsageError);
  EXPECT_THROW(check_lengths(engine_, 0, 4), UsageError);
}

// numpy: x = [3, 1, 4, 1.5, 9.25]; np.mean(x), np.percentile(x, [10, 25, 50, 75, 90, 99])
TEST(LatencyReport, HasVllmsLinesAndNumpysPercentiles) {
  const OfflineReport report = latency_report({3, 1, 4, 1.5, 9.25});
  EXPECT_EQ(report.text,
            "Avg latency: 3.75 seconds\n10% percentile latency: 1.2 seconds\n"
            "25% percentile latency: 1.5 seconds\n50% percentile latency: 3.0 seconds\n"
            "75% percentile latency: 4.0 seconds\n90% percentile latency: 7.15 seconds\n"
            "99% percentile latency: 9.04 seconds\n");
  EXPECT_EQ(report.json["latencies"], config::Json({3.0, 1.0, 4.0, 1.5, 9.25}));
  EXPECT_EQ(report.json["percentiles"]["90"], 7.15);
  EXPECT_EQ(latency_report({0.5}).json["percentiles"]["99"], 0.5);
}

TEST(ThroughputReport, HasVllmsLinesAndKeys) {
  const OfflineReport report =
      throughput_report({.seconds = 2.5, .num_finished = 5, .prompt_tokens = 100, .output_tokens = 25});
  EXPECT_EQ(report.text,
            "Throughput: 2.00 requests/s, 50.00 total tokens/s, 10.00 output tokens/s\n"
            "Total num prompt tokens:  100\nTotal num output tokens:  25\n");
  EXPECT_EQ(report.json.dump(),
            R"({"elapsed_time":2.5,"num_requests":5,"total_num_tokens":125,"requests_per_second":2.0,)"
            R"("tokens_per_second":50.0})");
}

TEST(OfflineOptions, VllmsDefaultsAndTheEnginesFlags) {
  const auto latency = config::parse_bench_latency({"--max-num-seqs", "4", "--kv-cache-dtype", "fp8"}, {});
  EXPECT_EQ(latency.batch_size, 8);
  EXPECT_EQ(latency.input_len, 32);
  EXPECT_EQ(latency.output_len, 128);
  EXPECT_EQ(latency.num_iters_warmup, 10);
  EXPECT_EQ(latency.num_iters, 30);
  EXPECT_EQ(latency.engine.max_num_seqs, 4);
  EXPECT_EQ(latency.engine.kv_cache_dtype, "fp8");
  EXPECT_FALSE(latency.engine.enable_prefix_caching);
  EXPECT_TRUE(config::parse_bench_latency({"--enable-prefix-caching"}, {}).engine.enable_prefix_caching);

  const auto random = config::parse_bench_throughput({"--input-len", "7", "--prefix-len", "3"}, {});
  EXPECT_EQ(random.dataset.name, "random");
  EXPECT_EQ(random.dataset.num_prompts, 1000);
  EXPECT_EQ(random.dataset.random_input_len, 7);
  EXPECT_EQ(random.dataset.random_prefix_len, 3);
  EXPECT_TRUE(random.engine.enable_prefix_caching);
  const auto shared = config::parse_bench_throughput({"--dataset", "x.json", "--seed", "5"}, {});
  EXPECT_EQ(shared.dataset.name, "sharegpt");
  EXPECT_EQ(shared.dataset.path, "x.json");
  EXPECT_EQ(shared.dataset.seed, 5);
  for (const std::vector<std::string>& words : {std::vector<std::string>{"--port", "1"},
                                                {"--backend", "hf"},
                                                {"model"},
                                                {"--dataset-name", "sonnet"},
                                                {"--num-prompts", "0"}}) {
    EXPECT_THROW(config::parse_bench_throughput(words, {}), UsageError) << words[0];
  }
}

}  // namespace
}  // namespace outrider::bench

#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <numeric>

#include "engine/fake_device.h"

namespace outrider::engine {
namespace {

// One full and one chunked group, blocks of 4, chunks of 16 unless said otherwise.
struct Bench {
  explicit Bench(EngineOptions changed = {}, int num_blocks = 400, int chunk_size = 16) {
    kv.block_size = 4;
    kv.chunk_size = chunk_size;
    kv.num_blocks = num_blocks;
    kv.group_is_chunked = {false, true};
    options = changed;
    if (options.max_model_len == 0) options.max_model_len = 200;
    scheduler = std::make_unique<Scheduler>(kv, options, 1);
    device = std::make_unique<FakeDevice>(kv, options.max_num_seqs, options.max_num_batched_tokens);
  }

  static std::shared_ptr<sampling::SamplingParams> params(int64_t max_tokens) {
    auto p = std::make_shared<sampling::SamplingParams>();
    p->max_tokens = max_tokens;
    return p;
  }

  RequestId add(int prompt_length, std::shared_ptr<sampling::SamplingParams> p, int64_t priority = 0,
                int first = 0) {
    Request request{.params = std::move(p), .priority = priority, .arrival = now};
    request.prompt.resize(prompt_length);
    std::iota(request.prompt.begin(), request.prompt.end(), first);
    scheduler->add(next_id, std::move(request), now);
    return next_id++;
  }

  // Plans one step and gives its rows' (slot, tokens); empty when there was nothing to do.
  std::vector<std::pair<int32_t, int32_t>> plan() {
    std::vector<std::pair<int32_t, int32_t>> rows;
    if (auto plan = scheduler->plan(now)) {
      for (const auto& s : plan->sequences) rows.emplace_back(s.slot, s.num_tokens);
      last_plan = *plan;
      device->submit(std::move(*plan));
    }
    return rows;
  }
  std::vector<Output> collect() {
    scheduler->apply(device->collect(), now);
    EXPECT_EQ(scheduler->check(), "");
    return scheduler->take_outputs();
  }
  std::vector<Output> step() {
    plan();
    return collect();
  }
  std::vector<Output> run_all() {
    std::vector<Output> all;
    while (scheduler->has_requests() || device->in_flight() > 0) {
      if (device->in_flight() == 0 || scheduler->has_requests()) {
        if (device->in_flight() < 2 && !plan().empty()) continue;
      }
      for (Output& output : collect()) all.push_back(std::move(output));
    }
    return all;
  }

  using Rows = std::vector<std::pair<int32_t, int32_t>>;

  model::KvGeometry kv;
  EngineOptions options;
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<FakeDevice> device;
  runner::StepPlan last_plan;
  Clock::time_point now{};
  RequestId next_id = 1;
};

TEST(Scheduler, DecodesGoBeforePrefillsAndPrefillsShareTheRestOfTheBudget) {
  Bench bench({.max_num_seqs = 4, .max_num_batched_tokens = 10});
  bench.add(3, Bench::params(20));
  bench.add(30, Bench::params(20), 0, 100);
  EXPECT_EQ(bench.plan(), (Bench::Rows{{0, 3}, {1, 7}}));
  bench.collect();
  EXPECT_EQ(bench.plan(), (Bench::Rows{{0, 1}, {1, 9}}));
}

TEST(Scheduler, ALongPrefillIsCutAtTheThreshold) {
  Bench bench({.max_num_seqs = 4, .max_num_batched_tokens = 50, .long_prefill_token_threshold = 8});
  bench.add(30, Bench::params(20));
  bench.add(5, Bench::params(20), 0, 100);
  EXPECT_EQ(bench.plan(), (Bench::Rows{{0, 8}, {1, 5}}));
}

TEST(Scheduler, PromptsBesideManyDecodesComeInPieces) {
  Bench bench({.max_num_seqs = 200, .max_num_batched_tokens = 500, .prompt_tokens_beside_decodes = 8}, 4000);
  for (int i = 0; i < 95; ++i) bench.add(1, Bench::params(20), 0, 10 * i);
  bench.step();
  bench.add(30, Bench::params(20), 0, 1000);
  EXPECT_EQ(bench.plan().back().second, 30);  // few decode
  bench.collect();
  bench.add(30, Bench::params(20), 0, 1100);
  bench.add(30, Bench::params(20), 0, 1200);
  for (const int piece : {8, 8, 8, 6}) {
    const Bench::Rows rows = bench.plan();
    ASSERT_GE(rows.size(), 97u);
    EXPECT_EQ(rows[96].second, piece);
    EXPECT_EQ(rows.size(), piece == 6 ? 98u : 97u);  // the next prompt takes what the first leaves
    bench.collect();
  }
}

TEST(Scheduler, NeverRunsMoreThanMaxNumSeqs) {
  Bench bench({.max_num_seqs = 2, .max_num_batched_tokens = 100});
  for (int i = 0; i < 3; ++i) bench.add(4, Bench::params(2), 0, 10 * i);
  EXPECT_EQ(bench.plan().size(), 2u);
  EXPECT_EQ(bench.scheduler->take_stats().waiting, 1);
  EXPECT_EQ(bench.run_all().size(), 6u);
}

TEST(Scheduler, PriorityPolicyAdmitsTheLowestNumberFirstAndFcfsIgnoresIt) {
  for (Policy policy : {Policy::kPriority, Policy::kFcfs}) {
    Bench bench({.max_num_seqs = 1, .policy = policy});
    bench.add(5, Bench::params(3), 2);
    bench.add(6, Bench::params(3), 1, 50);
    int32_t expected = policy == Policy::kPriority ? 6 : 5;
    EXPECT_EQ(bench.plan(), (Bench::Rows{{0, expected}}));
  }
}

TEST(Scheduler, ARequestThatMaxTokensEndsIsNotPlannedAgain) {
  Bench bench;
  bench.add(5, Bench::params(2));
  EXPECT_EQ(bench.plan(), (Bench::Rows{{0, 5}}));
  EXPECT_EQ(bench.plan(), (Bench::Rows{{0, 1}}));
  EXPECT_EQ(bench.last_plan.tokens, (std::vector<int32_t>{runner::kTokenFromDevice}));
  EXPECT_EQ(bench.last_plan.sequences[0].output_index, 1);
  bench.collect();
  EXPECT_TRUE(bench.plan().empty());
  std::vector<Output> outputs = bench.collect();
  EXPECT_EQ(outputs.back().finish_reason, FinishReason::kLength);
}

TEST(Scheduler, ARequestFoundFinishedKeepsItsPagesUntilItsWastedRowIsCollected) {
  Bench bench({.prefix_caching = false});
  auto params = Bench::params(50);
  for (int32_t token = 0; token < kVocabulary; ++token) params->eos_token_ids.push_back(token);
  bench.add(5, params);
  bench.plan();
  bench.plan();
  std::vector<Output> outputs = bench.collect();
  EXPECT_EQ(outputs.at(0).finish_reason, FinishReason::kStop);
  EXPECT_TRUE(bench.plan().empty());
  EXPECT_LT(bench.scheduler->pool().num_available(), bench.kv.num_blocks);
  EXPECT_TRUE(bench.collect().empty());
  EXPECT_EQ(bench.scheduler->pool().num_available(), bench.kv.num_blocks);
}

TEST(Scheduler, StopTokenIdsAreNamedAndEosIsNot) {
  Bench bench;
  auto params = Bench::params(50);
  for (int32_t token = 0; token < kVocabulary; ++token) params->stop_token_ids.push_back(token);
  bench.add(5, params);
  std::vector<Output> outputs = bench.run_all();
  ASSERT_EQ(outputs.size(), 1u);
  EXPECT_EQ(outputs[0].stop_token, outputs[0].tokens.at(0).token);
  params->eos_token_ids = params->stop_token_ids;
  bench.add(5, params);
  EXPECT_EQ(bench.run_all().at(0).stop_token, std::nullopt);
}

TEST(Scheduler, ASecondEqualPromptComputesOnlyItsLastBlock) {
  Bench bench;
  bench.add(12, Bench::params(1));
  EXPECT_EQ(bench.run_all().at(0).num_cached_tokens, 0);
  bench.add(12, Bench::params(1));
  EXPECT_EQ(bench.plan(), (Bench::Rows{{0, 4}}));
  EXPECT_EQ(bench.collect().at(0).num_cached_tokens, 8);
  StepStats stats = bench.scheduler->take_stats();
  EXPECT_EQ(stats.prefix_queries, 24);
  EXPECT_EQ(stats.prefix_hits, 8);
  EXPECT_EQ(stats.prompt_tokens, 24);
  EXPECT_EQ(stats.computed_prompt_tokens, 16);
}

TEST(Scheduler, AHitNeedsNoPagesOfClosedChunks) {
  Bench bench;
  bench.add(40, Bench::params(1));
  bench.run_all();
  bench.add(40, Bench::params(1));
  EXPECT_EQ(bench.plan(), (Bench::Rows{{0, 4}}));
  const std::vector<int32_t>& pages = bench.last_plan.pages;
  ASSERT_EQ(bench.last_plan.blocks_per_row, 10);
  for (int b = 0; b < 10; ++b) {
    EXPECT_NE(pages[b], runner::kNoPage);
    EXPECT_EQ(pages[10 + b] == runner::kNoPage, b < 8) << "chunked block " << b;
  }
}

TEST(Scheduler, ResettingThePrefixCacheForgetsAllAndKeepsRunningRequestsOut) {
  Bench bench;
  bench.add(12, Bench::params(1));
  bench.run_all();
  bench.add(12, Bench::params(30), 0, 100);
  bench.step();
  bench.scheduler->reset_prefix_cache();
  bench.run_all();
  for (int first : {0, 100}) {
    bench.add(12, Bench::params(1), 0, first);
    EXPECT_EQ(bench.run_all().at(0).num_cached_tokens, 0);
  }
}

TEST(Scheduler, PromptLogprobsAreComputedAndNotTakenFromTheCache) {
  Bench bench({.max_num_batched_tokens = 5});
  bench.add(12, Bench::params(1));
  bench.run_all();
  auto params = Bench::params(1);
  params->prompt_logprobs = 1;
  bench.add(12, params);
  std::vector<Output> outputs = bench.run_all();
  ASSERT_EQ(outputs.size(), 1u);
  EXPECT_EQ(outputs[0].num_cached_tokens, 0);
  EXPECT_EQ(outputs[0].prompt_logprobs.size(), 11u);
}

TEST(Scheduler, TheYoungestIsPreemptedAndResumesFromItsCachedBlocks) {
  Bench bench({.max_model_len = 64, .max_num_seqs = 2, .async_scheduling = false}, 32);
  RequestId old = bench.add(24, Bench::params(40));
  RequestId young = bench.add(24, Bench::params(40), 0, 100);
  std::vector<Preemption> preemptions;
  while (preemptions.empty()) {
    bench.step();
    preemptions = bench.scheduler->take_preemptions();
  }
  EXPECT_EQ(preemptions.at(0).id, young);
  EXPECT_GT(preemptions[0].num_published, 0);
  EXPECT_LE(preemptions[0].num_published, preemptions[0].num_computed);
  EXPECT_EQ(bench.scheduler->first_in_line()->id, old);
  EXPECT_EQ(bench.scheduler->take_stats().preemptions, 1);
  bench.run_all();
  EXPECT_EQ(bench.scheduler->take_stats().finished.size(), 2u);
}

TEST(Scheduler, RequestsOfKnownLengthWaitUntilTheyFitToTheirEnd) {
  for (const bool known : {true, false}) {
    Bench bench({.max_num_seqs = 8, .max_num_batched_tokens = 100}, 60);
    for (int i = 0; i < 12; ++i) {
      auto params = Bench::params(24);
      params->ignore_eos = known;
      if (!known) params->stop_token_ids = {kVocabulary};  // never sampled
      bench.add(8, params, 0, 100 * i);
    }
    size_t tokens = 0, preemptions = 0;
    while (bench.scheduler->has_requests()) {
      for (const Output& output : bench.step()) tokens += output.tokens.size();
      preemptions += bench.scheduler->take_preemptions().size();
    }
    EXPECT_EQ(tokens, 12u * 24u);
    EXPECT_EQ(preemptions == 0, known);
  }
}

// With a prompt of 8, and no chunk's end, one grows from 4 pages to 36: 1600 pages hold 44 at their end, and
// 80 of all ages.
constexpr int kOneChunk = 512, kManyPages = 1600;
std::shared_ptr<sampling::SamplingParams> of_64_tokens(bool known) {
  auto params = Bench::params(64);
  params->ignore_eos = known;
  if (!known) params->stop_token_ids = {kVocabulary};  // never sampled
  return params;
}

TEST(Scheduler, EqualRequestsOfKnownLengthStartEvenlyWhereMemoryIsTheLimit) {
  for (const bool known : {true, false}) {
    Bench bench({.prefix_caching = false}, kManyPages, kOneChunk);
    for (int i = 0; i < 160; ++i) bench.add(8, of_64_tokens(known), 0, 100 * i);
    EXPECT_EQ(bench.plan().size(), known ? 5u : 160u);
  }
  Bench bench({.prefix_caching = false}, kManyPages, kOneChunk);
  constexpr int kRequests = 440;
  for (int i = 0; i < kRequests; ++i) bench.add(8, of_64_tokens(true), 0, 100 * i);
  int steps = 0;
  int64_t most = 0, preemptions = 0;
  for (; bench.scheduler->has_requests(); ++steps) {
    bench.step();
    const StepStats stats = bench.scheduler->take_stats();
    most = std::max(most, stats.running);
    preemptions += stats.preemptions;
  }
  EXPECT_EQ(preemptions, 0);
  EXPECT_GE(most, 60);
  EXPECT_LT(steps, kRequests / 44 * 64 * 4 / 5);  // of what starts all at once would take
}

TEST(Scheduler, RequestsThatAllFitOrLackSlotsStartAtOnce) {
  Bench fits({.prefix_caching = false}, kManyPages, kOneChunk);
  for (int i = 0; i < 44; ++i) fits.add(8, of_64_tokens(true), 0, 100 * i);
  EXPECT_EQ(fits.plan().size(), 44u);
  Bench slots({.max_num_seqs = 40, .prefix_caching = false}, kManyPages, kOneChunk);
  for (int i = 0; i < 100; ++i) slots.add(8, of_64_tokens(true), 0, 100 * i);
  EXPECT_EQ(slots.plan().size(), 40u);
}

TEST(Scheduler, RequestsOfSeveralKnownLengthsDoNotWaitForOneAnother) {
  Bench bench({.prefix_caching = false}, kManyPages, kOneChunk);
  for (int i = 0; i < 100; ++i) {
    auto params = of_64_tokens(true);
    params->max_tokens = 24 + 4 * (i % 10);
    bench.add(8, params, 0, 100 * i);
  }
  EXPECT_GE(bench.plan().size(), 40u);
}

TEST(Scheduler, PagesOfASharedPromptDoNotMakeRequestsWait) {
  Bench bench({.max_model_len = 400}, 400, kOneChunk);
  const auto add = [&](int suffix) {
    Request request{.params = of_64_tokens(true), .arrival = bench.now};
    request.prompt.assign(180, 1);
    request.prompt.resize(184, suffix);
    bench.scheduler->add(bench.next_id++, std::move(request), bench.now);
  };
  add(0);
  bench.step();
  for (int i = 1; i < 20; ++i) add(i);
  EXPECT_EQ(bench.plan().size(), 2u);  // with 110 pages on average each, none would start beside the first
}

TEST(Scheduler, TheLengthOfThoseThatEndedIsExpectedOfThoseThatCome) {
  Bench bench({.max_num_seqs = 8, .max_num_batched_tokens = 100}, 60);
  const auto run = [&](int requests) {
    size_t preemptions = 0;
    for (int i = 0; i < requests; ++i) bench.add(8, Bench::params(24), 0, 100 * i);
    while (bench.scheduler->has_requests()) {
      bench.step();
      preemptions += bench.scheduler->take_preemptions().size();
    }
    return preemptions;
  };
  EXPECT_GT(run(12), 0u);
  run(300);
  EXPECT_EQ(run(12), 0u);
}

TEST(Scheduler, ALoneSequenceNeverHoldsMoreThanThePlannedPages) {
  for (int step_tokens : {1, 7, 300}) {
    Bench bench({.max_num_batched_tokens = step_tokens}, 1);
    bench.kv.num_blocks = static_cast<int>(model::pages_for_sequence(bench.kv, 199));
    bench.scheduler = std::make_unique<Scheduler>(bench.kv, bench.options, 1);
    bench.device = std::make_unique<FakeDevice>(bench.kv, 256, step_tokens);
    bench.add(100, Bench::params(100));
    EXPECT_EQ(bench.run_all().size(), 100u);
    EXPECT_EQ(bench.scheduler->take_stats().preemptions, 0);
  }
}

TEST(Scheduler, RequestsThatCanNeverRunAreRefusedAtOnce) {
  Bench bench({}, 20);
  bench.add(0, Bench::params(1));
  bench.add(200, Bench::params(1));
  bench.add(5, nullptr);
  bench.add(100, Bench::params(60));
  std::vector<Output> outputs = bench.scheduler->take_outputs();
  ASSERT_EQ(outputs.size(), 4u);
  for (const Output& output : outputs) {
    EXPECT_EQ(output.finish_reason, FinishReason::kError);
    EXPECT_FALSE(output.error.empty());
  }
  EXPECT_FALSE(bench.scheduler->has_requests());
}

TEST(Scheduler, AnAnswerThatDoesNotFitThePlanIsAnError) {
  auto expect_refused = [](auto&& spoil) {
    Bench bench;
    bench.add(5, Bench::params(5));
    bench.plan();
    runner::StepResult result = bench.device->collect();
    spoil(result);
    EXPECT_THROW(bench.scheduler->apply(std::move(result), bench.now), std::runtime_error);
  };
  expect_refused([](runner::StepResult& r) { r.id += 1; });
  expect_refused([](runner::StepResult& r) { r.sampled.clear(); });
  expect_refused([](runner::StepResult& r) { r.sampled[0].sequence = 1; });
  expect_refused([](runner::StepResult& r) { r.sampled[0].sequence = -1; });
  expect_refused([](runner::StepResult& r) { r.sampled[0].token = -1; });
}

TEST(Scheduler, TimesOfARequestAreMeasuredFromItsArrival) {
  using std::chrono::seconds;
  Bench bench({.async_scheduling = false});
  bench.add(5, Bench::params(3));
  bench.now += seconds(2);
  bench.plan();
  bench.now += seconds(3);
  bench.collect();
  EXPECT_EQ(bench.scheduler->take_stats().time_to_first_token, std::vector<double>{5.0});
  for (int i = 0; i < 2; ++i) {
    bench.plan();
    bench.now += seconds(4);
    bench.collect();
  }
  StepStats stats = bench.scheduler->take_stats();
  EXPECT_EQ(stats.inter_token_latency, (std::vector<double>{4.0, 4.0}));
  ASSERT_EQ(stats.finished.size(), 1u);
  EXPECT_EQ(stats.finished[0].queue_seconds, 2.0);
  EXPECT_EQ(stats.finished[0].prefill_seconds, 3.0);
  EXPECT_EQ(stats.finished[0].decode_seconds, 8.0);
  EXPECT_EQ(stats.finished[0].inference_seconds, 11.0);
  EXPECT_EQ(stats.finished[0].e2e_seconds, 13.0);
}

}  // namespace
}  // namespace outrider::engine

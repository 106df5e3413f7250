// Random traces against the plain model. Property: whatever is submitted, cancelled, cached, preempted or
// planned ahead, every request gets a prefix of exactly the tokens that the plain model predicts, all of them
// when nobody cancels it; the device accepts every plan; all rules of docs/kv-cache.md hold after every
// operation; and the first in line of those that run always advances.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <unordered_map>

#include "engine/fake_device.h"
#include "engine/fake_grammar.h"
#include "engine/scheduler.h"

namespace outrider::engine {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int64_t kDefaultOperations = 60'000;
#else
constexpr int64_t kDefaultOperations = 1'200'000;
#endif

int64_t num_operations() {
  const char* text = std::getenv("OUTRIDER_PROPERTY_OPERATIONS");
  return text ? std::atoll(text) : kDefaultOperations;
}

struct Setting {
  model::KvGeometry kv;
  EngineOptions options;
};

struct TraceTotals {
  int64_t operations = 0, requests = 0, completed = 0, preemptions = 0, hit_tokens = 0, steps = 0,
          computed = 0;
  int64_t ahead = 0;  // steps planned while another was in flight
};

class Trace {
 public:
  Trace(const Setting& setting, uint64_t seed, TraceTotals* totals)
      : setting_(setting),
        random_(seed),
        scheduler_(setting_.kv, setting_.options, seed),
        device_(setting_.kv, setting_.options.max_num_seqs, setting_.options.max_num_batched_tokens),
        model_(setting_.kv),
        totals_(totals) {
    for (int i = 0; i < 3; ++i)
      stems_.push_back(random_tokens(pick(1, int(setting_.options.max_model_len) - 1)));
  }

  void run(int num_operations) {
    for (int i = 0; i < num_operations && !testing::Test::HasFatalFailure(); ++i) operate();
    while (scheduler_.has_requests() || device_.in_flight() > 0) {
      if (testing::Test::HasFatalFailure()) return;
      step();
      verify();
    }
    ASSERT_TRUE(requests_.empty()) << "a request has never ended";
    ASSERT_EQ(scheduler_.pool().num_available(), scheduler_.pool().num_pages()) << "pages leaked";
    totals_->operations += num_operations;
  }

 private:
  struct Expected {
    std::vector<int32_t> prompt, tokens;
    FinishReason reason = FinishReason::kLength;
    std::optional<int32_t> stop_token;
    bool prompt_logprobs = false;
    size_t num_received = 0;
  };

  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool chance(int percent) { return pick(1, 100) <= percent; }

  std::vector<int32_t> random_tokens(int length) {
    std::vector<int32_t> tokens(length);
    // Few different tokens: equal blocks after different histories are common.
    for (int32_t& token : tokens) token = pick(0, 2);
    return tokens;
  }

  void operate() {
    now_ += std::chrono::milliseconds(1);
    int kind = pick(1, 100);
    if (kind <= 22) {
      submit();
    } else if (kind <= 27) {
      cancel();
    } else if (kind == 28 && chance(20)) {
      scheduler_.reset_prefix_cache();
    } else {
      step();
    }
    verify();
  }

  void submit() {
    if (requests_.size() > 24) return;
    const auto& stem = stems_[pick(0, 2)];
    std::vector<int32_t> prompt(stem.begin(), stem.begin() + pick(0, int(stem.size())));
    auto limit = size_t(setting_.options.max_model_len) - 1;
    for (int32_t token : random_tokens(pick(0, 6))) prompt.push_back(token);
    if (prompt.empty()) prompt.push_back(0);
    prompt.resize(std::min(prompt.size(), limit));

    auto params = std::make_shared<sampling::SamplingParams>();
    params->seed = pick(0, 1);
    params->max_tokens = chance(30) ? 1000 : pick(1, 12);
    if (chance(50)) params->eos_token_ids = {1, 7};
    if (chance(20)) params->stop_token_ids = {pick(0, kVocabulary - 1), 3};
    params->ignore_eos = chance(20);
    params->min_tokens = chance(20) ? pick(0, 4) : 0;
    if (chance(10)) params->prompt_logprobs = 0;

    Request request{.prompt = prompt, .params = params, .priority = pick(-1, 1), .arrival = now_};
    if (chance(20)) request.cache_salt = chance(50) ? "a" : "b";
    if (chance(25)) request.grammar = std::make_shared<FakeGrammar>(pick(1, 12));
    RequestId id = next_id_++;
    Expected expected{.prompt = prompt, .prompt_logprobs = params->prompt_logprobs.has_value()};
    bool by_grammar = false;
    expected.tokens = model_.predict(request, setting_.options.max_model_len, &expected.reason, &by_grammar);
    bool by_eos =
        !params->ignore_eos && std::ranges::count(params->eos_token_ids, expected.tokens.back()) > 0;
    if (expected.reason == FinishReason::kStop && !by_eos && !by_grammar)
      expected.stop_token = expected.tokens.back();
    requests_.emplace(id, std::move(expected));
    ids_.push_back(id);
    scheduler_.add(id, std::move(request), now_);
    ++totals_->requests;
  }

  void cancel() {
    const auto& from = chance(80) || finished_ids_.empty() ? ids_ : finished_ids_;
    if (from.empty()) return;
    RequestId id = from[pick(0, int(from.size()) - 1)];
    bool known = requests_.contains(id);
    if (known) requests_[id].reason = FinishReason::kAbort;
    ASSERT_EQ(scheduler_.cancel(id, FinishReason::kAbort, "", now_), known);
  }

  void step() {
    const int depth = setting_.options.async_scheduling ? 2 : 1;
    // Results may come sooner or later than the next plan is made.
    bool plan_first = device_.in_flight() == 0 || (device_.in_flight() < depth && chance(80));
    if (plan_first && plan()) return;
    if (device_.in_flight() > 0) {
      runner::StepResult result;
      ASSERT_NO_THROW(result = device_.collect());
      ASSERT_NO_THROW(scheduler_.apply(std::move(result), now_));
      check_first_in_line();
      return;
    }
    ASSERT_FALSE(scheduler_.has_requests()) << "requests wait, yet nothing can be planned";
  }

  bool plan() {
    bool ahead = device_.in_flight() > 0;
    auto first = scheduler_.first_in_line();
    std::optional<runner::StepPlan> plan = scheduler_.plan(now_);
    for (const Preemption& p : scheduler_.take_preemptions()) {
      ++totals_->preemptions;
      EXPECT_NE(p.id, first->id) << "the first in line was preempted";
    }
    if (!plan) return false;
    ++totals_->steps;
    totals_->ahead += ahead;
    for (const runner::SequenceStep& s : plan->sequences) totals_->computed += s.num_tokens;
    EXPECT_NO_THROW(device_.submit(std::move(*plan)));
    return true;
  }

  // It may sit out the step in flight while room is made for it, and with a grammar one more, planned before
  // its last token was read.
  void check_first_in_line() {
    auto first = scheduler_.first_in_line();
    bool same = first && last_first_ && first->id == last_first_->id;
    stalled_ = same && first->num_computed == last_first_->num_computed ? stalled_ + 1 : 0;
    ASSERT_LE(stalled_, 3) << "the first in line does not advance";
    last_first_ = first;
  }

  void verify() {
    std::string broken = scheduler_.check();
    ASSERT_EQ(broken, "");
    for (const Output& output : scheduler_.take_outputs()) {
      ASSERT_NO_FATAL_FAILURE(receive(output));
    }
    StepStats stats = scheduler_.take_stats();
    totals_->hit_tokens += stats.prefix_hits;
    ASSERT_LE(stats.running, setting_.options.max_num_seqs);
    ASSERT_GE(stats.prefix_queries, stats.prefix_hits);
    ASSERT_EQ(stats.running + stats.waiting, std::ssize(requests_));
    ASSERT_TRUE(setting_.options.prefix_caching || stats.prefix_hits == 0);
  }

  void receive(const Output& output) {
    ASSERT_TRUE(requests_.contains(output.id)) << "an output after the last one";
    Expected& expected = requests_[output.id];
    if (expected.num_received == 0 && !output.tokens.empty()) {
      int64_t count = expected.prompt_logprobs ? std::ssize(expected.prompt) - 1 : 0;
      ASSERT_EQ(std::ssize(output.prompt_logprobs), count);
      for (int64_t i = 0; i < count; ++i) {
        int32_t token = expected.prompt[i + 1];
        ASSERT_EQ(output.prompt_logprobs[i].chosen.token, token);
        ASSERT_EQ(output.prompt_logprobs[i].chosen.logprob, fake_logprob(i + 1, token));
      }
    } else {
      ASSERT_TRUE(output.prompt_logprobs.empty());
    }
    for (const OutputToken& token : output.tokens) {
      ASSERT_LT(expected.num_received, expected.tokens.size());
      ASSERT_EQ(token.token, expected.tokens[expected.num_received]) << "output " << expected.num_received;
      ++expected.num_received;
    }
    ASSERT_LT(output.num_cached_tokens, std::ssize(expected.prompt));
    if (!output.finish_reason) return;
    ASSERT_EQ(*output.finish_reason, expected.reason);
    if (expected.reason != FinishReason::kAbort) {
      ASSERT_EQ(expected.num_received, expected.tokens.size());
      ASSERT_EQ(output.stop_token, expected.stop_token);
      ++totals_->completed;
    }
    requests_.erase(output.id);
    std::erase(ids_, output.id);
    finished_ids_.push_back(output.id);
  }

  Setting setting_;
  std::mt19937_64 random_;
  Scheduler scheduler_;
  FakeDevice device_;
  PlainModel model_;
  TraceTotals* totals_;
  Clock::time_point now_{};
  RequestId next_id_ = 1;
  std::vector<std::vector<int32_t>> stems_;
  std::unordered_map<RequestId, Expected> requests_;
  std::vector<RequestId> ids_;           // of requests_
  std::vector<RequestId> finished_ids_;  // to cancel what is long gone
  std::optional<Scheduler::Progress> last_first_;
  int stalled_ = 0;
};

Setting random_setting(std::mt19937_64& random) {
  auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  Setting setting;
  model::KvGeometry& kv = setting.kv;
  kv.block_size = pick(1, 5);
  int full = pick(0, 2), chunked = pick(full == 0 ? 1 : 0, 3);
  kv.group_is_chunked.assign(full, false);
  kv.group_is_chunked.insert(kv.group_is_chunked.end(), chunked, true);
  kv.chunk_size = chunked > 0 || pick(0, 1) ? pick(2, 17) : 0;
  kv.layers_per_group = 1;

  EngineOptions& options = setting.options;
  options.max_model_len = pick(6, 44);
  options.max_num_seqs = pick(1, 7);
  options.max_num_batched_tokens = pick(1, 24);
  options.long_prefill_token_threshold = pick(0, 2) == 0 ? pick(1, 8) : 0;
  options.prefix_caching = pick(1, 100) <= 75;
  options.async_scheduling = pick(1, 100) <= 60;
  options.policy = pick(0, 2) == 0 ? Policy::kPriority : Policy::kFcfs;

  auto smallest = static_cast<int>(model::pages_for_sequence(kv, options.max_model_len - 1));
  // Often as small as is allowed, so that everybody competes for the last pages.
  kv.num_blocks = smallest + (pick(0, 2) == 0 ? 0 : pick(0, 3 * smallest));
  return setting;
}

TEST(SchedulerProperty, AnyTraceGivesTheTokensOfThePlainModel) {
  const int64_t operations = num_operations();
  TraceTotals totals;
  for (uint64_t seed = 1; totals.operations < operations; ++seed) {
    std::mt19937_64 random(seed);
    Setting setting = random_setting(random);
    SCOPED_TRACE("seed " + std::to_string(seed));
    Trace trace(setting, seed, &totals);
    ASSERT_NO_FATAL_FAILURE(trace.run(400));
    ASSERT_FALSE(HasFailure());
  }
  RecordProperty("operations", std::to_string(totals.operations));
  std::printf(
      "%ld operations, %ld requests (%ld not cancelled), %ld steps (%ld ahead), %ld tokens computed, "
      "%ld preemptions, %ld prompt tokens from the cache\n",
      long(totals.operations), long(totals.requests), long(totals.completed), long(totals.steps),
      long(totals.ahead), long(totals.computed), long(totals.preemptions), long(totals.hit_tokens));
  // The traces are worth something only when they get into every corner.
  EXPECT_GT(totals.preemptions, totals.operations / 500);
  EXPECT_GT(totals.hit_tokens, totals.operations / 20);
  EXPECT_GT(totals.ahead, totals.operations / 20);
  EXPECT_GT(totals.completed, totals.requests / 2);
}

}  // namespace
}  // namespace outrider::engine

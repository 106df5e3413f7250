#include "engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <ctime>
#include <future>
#include <map>
#include <mutex>
#include <random>
#include <stdexcept>
#include <thread>

#include "engine/fake_device.h"
#include "engine/fake_grammar.h"

namespace outrider::engine {
namespace {

using std::chrono::milliseconds;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRequestsPerThread = 60;
#else
constexpr int kRequestsPerThread = 400;
#endif

enum class Fault {
  kNone,
  kErrorResult,
  kThrowOnCollect,
  kThrowOnSubmit,
  kLostToken,
  kSilentCollect,
  kSilentSubmit
};

struct DeviceLog {
  std::atomic<int> steps{0};
  std::atomic<int> most_in_flight{0};
  std::atomic<bool> silent{true};  // as long as this holds, a silent fault lasts
};

class FakeRunner : public runner::Runner {
 public:
  FakeRunner(const model::KvGeometry& kv, const EngineOptions& options, DeviceLog* log)
      : kv_(kv), device_(kv, options.max_num_seqs, options.max_num_batched_tokens), log_(log) {}

  void fail_at(int step, Fault fault) {
    fault_step_ = step;
    fault_ = fault;
  }
  void set_step_time(milliseconds time) { step_time_ = time; }

  void submit(runner::StepPlan plan) override {
    int step = ++log_->steps;
    if (step >= fault_step_ && fault_ == Fault::kThrowOnSubmit) throw std::runtime_error("out of luck");
    if (step == fault_step_ && fault_ == Fault::kSilentSubmit) log_->silent.wait(true);
    device_.submit(std::move(plan));
    log_->most_in_flight = std::max(log_->most_in_flight.load(), device_.in_flight());
  }
  runner::StepResult collect() override {
    std::this_thread::sleep_for(step_time_);
    int step = ++num_collected_;
    if (step >= fault_step_ && fault_ == Fault::kThrowOnCollect) throw std::runtime_error("out of luck");
    if (step == fault_step_ && fault_ == Fault::kSilentCollect) log_->silent.wait(true);
    runner::StepResult result = device_.collect();
    if (step >= fault_step_ && fault_ == Fault::kErrorResult) result.error = "out of luck";
    if (step >= fault_step_ && fault_ == Fault::kLostToken) result.sampled.clear();
    return result;
  }
  const model::KvGeometry& kv() const override { return kv_; }

 private:
  model::KvGeometry kv_;
  FakeDevice device_;
  DeviceLog* log_;
  Fault fault_ = Fault::kNone;
  int fault_step_ = 1 << 30;
  int num_collected_ = 0;
  milliseconds step_time_{0};
};

// What one sink was given. Sinks run on the engine thread, expectations on the test's.
class Received {
 public:
  OutputSink sink() {
    return [this](Output output) {
      std::lock_guard lock(mutex_);
      for (const OutputToken& token : output.tokens) tokens_.push_back(token.token);
      if (!output.tokens.empty() && tokens_.size() == output.tokens.size()) first_.set_value();
      if (finals_ > 0) after_final_ = true;
      if (!output.finish_reason) return;
      reason_ = output.finish_reason;
      error_ = output.error;
      if (++finals_ == 1) done_.set_value();
    };
  }
  void wait_for_first() { first_.get_future().wait(); }
  bool wait() { return ended_.wait_for(std::chrono::seconds(60)) == std::future_status::ready; }
  // After the engine is gone, or once wait() has returned.
  int finals() const { return with_lock(finals_); }
  bool after_final() const { return with_lock(after_final_); }
  std::vector<int32_t> tokens() const { return with_lock(tokens_); }
  std::optional<FinishReason> reason() const { return with_lock(reason_); }
  std::string error() const { return with_lock(error_); }

 private:
  template <typename T>
  T with_lock(const T& value) const {
    std::lock_guard lock(mutex_);
    return value;
  }

  mutable std::mutex mutex_;
  std::vector<int32_t> tokens_;
  std::optional<FinishReason> reason_;
  std::string error_;
  int finals_ = 0;
  bool after_final_ = false;
  std::promise<void> first_, done_;
  std::future<void> ended_ = done_.get_future();
};

class Totals : public StatsObserver {
 public:
  void on_step(const StepStats& stats) override {
    std::lock_guard lock(mutex_);
    for (const FinishedRequest& finished : stats.finished) ++finished_[finished.reason];
    generation_tokens_ += stats.generation_tokens;
    prompt_tokens_ += stats.prompt_tokens;
    last_ = stats;
  }
  int finished(FinishReason reason) {
    std::lock_guard lock(mutex_);
    return finished_[reason];
  }
  int64_t generation_tokens() {
    std::lock_guard lock(mutex_);
    return generation_tokens_;
  }
  int64_t prompt_tokens() {
    std::lock_guard lock(mutex_);
    return prompt_tokens_;
  }
  StepStats last() {
    std::lock_guard lock(mutex_);
    return last_;
  }

 private:
  std::mutex mutex_;
  std::map<FinishReason, int> finished_;
  int64_t generation_tokens_ = 0, prompt_tokens_ = 0;
  StepStats last_;
};

class EngineTest : public testing::TestWithParam<bool> {
 protected:
  EngineTest() {
    kv_.block_size = 4;
    kv_.chunk_size = 10;
    kv_.group_is_chunked = {false, true};
    kv_.num_blocks = 60;
    options_.max_model_len = 64;
    options_.max_num_seqs = 6;
    options_.max_num_batched_tokens = 16;
    options_.async_scheduling = GetParam();
    runner_ = std::make_unique<FakeRunner>(kv_, options_, &device_);
  }

  Engine& start() {
    engine_ = std::make_unique<Engine>(std::move(runner_), options_, &totals_);
    return *engine_;
  }

  static Request request(std::vector<int32_t> prompt, int64_t max_tokens, Received* received) {
    auto params = std::make_shared<sampling::SamplingParams>();
    params->max_tokens = max_tokens;
    return {.prompt = std::move(prompt), .params = params, .sink = received->sink()};
  }

  std::vector<int32_t> predict(const Request& r) const {
    return PlainModel(kv_).predict(r, options_.max_model_len);
  }

  // Equal requests, more than run at once.
  std::vector<Received> submit_dozen(int64_t max_tokens) {
    std::vector<Received> received(12);
    for (Received& r : received) engine_->submit(request({1, 2}, max_tokens, &r));
    return received;
  }

  static void expect_all_aborted(const std::vector<Received>& received) {
    for (const Received& r : received) {
      EXPECT_EQ(r.finals(), 1);
      EXPECT_EQ(r.reason(), FinishReason::kAbort);
    }
  }

  // A device that fails in its fifth step ends every request with an error, says `why` to each where it is
  // given, refuses what comes now at once, lets nothing wait, and everybody is told once.
  void expect_failure_is_told(Fault fault, const std::string& why = "") {
    runner_ = std::make_unique<FakeRunner>(kv_, options_, &device_);
    device_.steps = 0;
    runner_->fail_at(5, fault);
    Engine& engine = start();
    std::vector<Received> received(10);
    std::vector<RequestId> ids;
    for (Received& r : received) ids.push_back(engine.submit(request({1, 2, 3}, 50, &r)));
    for (Received& r : received) {
      ASSERT_TRUE(r.wait());
      EXPECT_EQ(r.reason(), FinishReason::kError);
      EXPECT_NE(r.error(), "");
      if (!why.empty()) {
        EXPECT_EQ(r.error(), why);
      }
    }
    EXPECT_FALSE(engine.alive());
    Received late;
    ids.push_back(engine.submit(request({1}, 1, &late)));
    ASSERT_TRUE(late.wait());
    EXPECT_EQ(late.reason(), FinishReason::kError);
    for (RequestId id : ids) engine.cancel(id);
    engine.reset_prefix_cache();
    if (device_.silent.exchange(false))
      device_.silent.notify_all();  // it comes back, and finds its place taken
    engine_.reset();
    for (Received& r : received) EXPECT_EQ(r.finals(), 1);
  }

  model::KvGeometry kv_;
  EngineOptions options_;
  DeviceLog device_;
  Totals totals_;
  std::unique_ptr<FakeRunner> runner_;
  std::unique_ptr<Engine> engine_;
};

INSTANTIATE_TEST_SUITE_P(Async, EngineTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "TwoSteps" : "OneStep"; });

TEST_P(EngineTest, GivesTheTokensOfThePlainModelAndKeepsItsDepth) {
  Engine& engine = start();
  Received received[5];
  for (int i = 0; i < 5; ++i) {
    Request r = request({1, 2, 3, i}, 10 + i, &received[i]);
    std::vector<int32_t> expected = predict(r);
    engine.submit(std::move(r));
    ASSERT_TRUE(received[i].wait());
    EXPECT_EQ(received[i].tokens(), expected);
    EXPECT_EQ(received[i].reason(), FinishReason::kLength);
  }
  EXPECT_EQ(device_.most_in_flight, GetParam() ? 2 : 1);
  engine_.reset();
  EXPECT_EQ(totals_.generation_tokens(), 60);
  EXPECT_EQ(totals_.prompt_tokens(), 20);
  EXPECT_EQ(totals_.finished(FinishReason::kLength), 5);
}

TEST_P(EngineTest, AGrammarEndsItsOutputAndADeadEndInItIsAnError) {
  Engine& engine = start();
  Received matches, dead_end, free;
  Request whole = request({1, 2, 3}, 40, &matches), stuck = request({1, 2, 3}, 40, &dead_end),
          plain = request({1, 2, 3}, 40, &free);
  whole.grammar = std::make_shared<FakeGrammar>(9);
  stuck.grammar = std::make_shared<FakeGrammar>(4, FakeGrammar::End::kDeadEnd);
  const std::vector<int32_t> expected = predict(whole), unconstrained = predict(plain);
  for (Request* r : {&whole, &stuck, &plain}) engine.submit(std::move(*r));
  for (Received* r : {&matches, &dead_end, &free}) ASSERT_TRUE(r->wait());
  EXPECT_EQ(matches.tokens(), expected);
  EXPECT_EQ(matches.tokens().size(), 9u);
  EXPECT_EQ(matches.reason(), FinishReason::kStop);
  EXPECT_EQ(dead_end.tokens(), std::vector<int32_t>(expected.begin(), expected.begin() + 4));
  EXPECT_EQ(dead_end.reason(), FinishReason::kError);
  EXPECT_EQ(dead_end.error(), "the grammar has no way to go on");
  EXPECT_EQ(free.tokens(), unconstrained);
}

TEST_P(EngineTest, ManyThreadsWithRandomCancelsGetExactlyOneLastOutputEach) {
  Engine& engine = start();
  struct Sent {
    Received received;
    std::vector<int32_t> expected;
  };
  constexpr int kThreads = 4;
  std::vector<Sent> sent(size_t{kThreads} * kRequestsPerThread);
  auto client = [&](int thread) {
    std::mt19937 random(thread);
    auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    for (int i = 0; i < kRequestsPerThread; ++i) {
      Sent& mine = sent[size_t(thread) * kRequestsPerThread + i];
      std::vector<int32_t> prompt(pick(1, 30), 1);
      prompt.back() = pick(0, 3);
      Request r = request(prompt, pick(1, 40), &mine.received);
      mine.expected = predict(r);
      RequestId id = engine.submit(std::move(r));
      if (pick(0, 2) == 0) engine.cancel(pick(0, 1) ? id : RequestId(pick(1, 800)), pick(0, 1));
      if (pick(0, 40) == 0) engine.reset_prefix_cache();
      if (pick(0, 4) == 0) mine.received.wait();
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back(client, t);
  for (std::thread& thread : threads) thread.join();
  for (Sent& s : sent) ASSERT_TRUE(s.received.wait());
  engine_.reset();
  int complete = 0;
  for (Sent& s : sent) {
    ASSERT_EQ(s.received.finals(), 1);
    ASSERT_FALSE(s.received.after_final());
    std::vector<int32_t> tokens = s.received.tokens(), expected = s.expected;
    bool is_complete = s.received.reason() == FinishReason::kLength;
    complete += is_complete;
    if (!is_complete) {
      ASSERT_LE(tokens.size(), expected.size());
      expected.resize(tokens.size());
    }
    ASSERT_EQ(tokens, expected);
  }
  EXPECT_GT(complete, int(sent.size()) / 4);
  EXPECT_EQ(totals_.finished(FinishReason::kLength), complete);
  EXPECT_EQ(totals_.finished(FinishReason::kLength) + totals_.finished(FinishReason::kAbort) +
                totals_.finished(FinishReason::kStop),
            int(sent.size()));
}

TEST_P(EngineTest, AFailedDeviceEndsEveryRequestWithAnErrorAndLaterOnesToo) {
  for (Fault fault : {Fault::kErrorResult, Fault::kThrowOnCollect, Fault::kThrowOnSubmit, Fault::kLostToken})
    expect_failure_is_told(fault);
}

TEST_P(EngineTest, ADeviceThatNeverAnswersEndsEveryRequestWithAnErrorAndLaterOnesToo) {
  options_.device_timeout = milliseconds(60);
  for (Fault fault : {Fault::kSilentCollect, Fault::kSilentSubmit}) {
    device_.silent = true;
    expect_failure_is_told(fault, "the device failed: it has not answered for 0.06 s");
  }
}

TEST_P(EngineTest, ASlowDeviceIsNotASilentOne) {
  options_.device_timeout = milliseconds(200);
  runner_->set_step_time(milliseconds(15));
  Engine& engine = start();
  Received received;
  engine.submit(request({1, 2}, 30, &received));
  ASSERT_TRUE(received.wait());
  EXPECT_EQ(received.reason(), FinishReason::kLength);
  std::this_thread::sleep_for(milliseconds(250));  // idle
  EXPECT_TRUE(engine.alive());
}

TEST_P(EngineTest, TheDestructorAbortsWhatRuns) {
  runner_->set_step_time(milliseconds(1));
  start();
  std::vector<Received> received = submit_dozen(60);
  received[0].wait_for_first();
  engine_.reset();
  expect_all_aborted(received);
}

TEST_P(EngineTest, ACancelledRequestLeavesWithinTheStepsInFlight) {
  runner_->set_step_time(milliseconds(2));
  Engine& engine = start();
  Received received;
  RequestId id = engine.submit(request({1, 2}, 60, &received));
  received.wait_for_first();
  int before = device_.steps;
  engine.cancel(id);
  ASSERT_TRUE(received.wait());
  EXPECT_LE(device_.steps - before, 3);
  EXPECT_EQ(received.reason(), FinishReason::kAbort);
  engine_.reset();
  EXPECT_EQ(totals_.last().kv_usage, 0.0);
  EXPECT_EQ(totals_.last().running, 0);
}

TEST_P(EngineTest, ACancelForAStopStringCountsAsStop) {
  runner_->set_step_time(milliseconds(1));
  Engine& engine = start();
  Received received;
  RequestId id = engine.submit(request({1, 2}, 60, &received));
  received.wait_for_first();
  engine.cancel(id, true);
  ASSERT_TRUE(received.wait());
  engine_.reset();
  EXPECT_EQ(received.reason(), FinishReason::kStop);
  EXPECT_EQ(totals_.finished(FinishReason::kStop), 1);
  EXPECT_EQ(totals_.finished(FinishReason::kAbort), 0);
}

TEST_P(EngineTest, RequestsThatCanNeverRunGetTheirError) {
  Engine& engine = start();
  for (auto [prompt_length, max_tokens] : {std::pair{0, 1}, {64, 1}, {100'000, 1}}) {
    Received received;
    engine.submit(request(std::vector<int32_t>(prompt_length, 1), max_tokens, &received));
    ASSERT_TRUE(received.wait());
    EXPECT_EQ(received.reason(), FinishReason::kError);
  }
  EXPECT_TRUE(engine.alive());
}

TEST_P(EngineTest, ASinkMaySubmitAndCancelAndThrow) {
  Engine& engine = start();
  Received second;
  std::promise<void> asked;
  Received unused;
  Request first = request({1}, 50, &unused);
  first.sink = [&, asked_already = false](Output output) mutable {
    if (!std::exchange(asked_already, true)) {
      engine.submit(request({2}, 3, &second));
      engine.cancel(output.id);
    }
    if (output.finish_reason) asked.set_value();
    throw std::runtime_error("a careless sink");
  };
  engine.submit(std::move(first));
  asked.get_future().wait();
  ASSERT_TRUE(second.wait());
  EXPECT_TRUE(engine.alive());
  engine_.reset();
  EXPECT_EQ(second.reason(), FinishReason::kLength);
  EXPECT_EQ(second.finals(), 1) << "the sink has lost its state between outputs";
}

TEST_P(EngineTest, AnIdleEngineSleeps) {
  Engine& engine = start();
  Received received;
  engine.submit(request({1}, 3, &received));
  ASSERT_TRUE(received.wait());
  std::this_thread::sleep_for(milliseconds(20));
  std::clock_t before = std::clock();
  std::this_thread::sleep_for(milliseconds(200));
  double busy_seconds = double(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(busy_seconds, 0.05);
}

}  // namespace
}  // namespace outrider::engine

// Random batches through the runner, two steps in flight, as a scheduler under pressure would make them; then
// each request alone, without CUDA graphs. Tokens and log-probabilities must be the same bits.
#include <gtest/gtest.h>

#include <bit>
#include <deque>
#include <random>

#include "cuda/cuda_runner.h"
#include "cuda/kv_cache.h"
#include "cuda/needs_gpu.h"
#include "cuda/tiny_model.h"

namespace outrider::cuda {
namespace {

using runner::SequenceStep;
using runner::StepPlan;
using runner::StepResult;
using sampling::PositionLogprobs;
using sampling::SamplingParams;

constexpr int kSlots = 7, kMaxLen = 1280, kMaxTokens = 2048, kBlocks = kMaxLen / kPagePositions;
constexpr int kSteps = 200;

struct Request {
  int id = 0;
  std::vector<int32_t> prompt;
  std::shared_ptr<const SamplingParams> params;

  int slot = -1;
  bool bound = false;
  int scheduled = 0;  // positions
  int unread = 0;     // sampled by steps in flight
  int steps_in_flight = 0;
  std::vector<int32_t> output;
  std::vector<PositionLogprobs> output_logprobs, prompt_logprobs;

  int prompt_length() const { return static_cast<int>(prompt.size()); }
  int sampled() const { return static_cast<int>(output.size()) + unread; }
  int remaining() const {
    return sampled() == params->max_tokens ? 0 : prompt_length() + sampled() - scheduled;
  }
  int32_t token(int position) const {
    if (position < prompt_length()) return prompt[position];
    const size_t i = position - prompt_length();
    return i < output.size() ? output[i] : runner::kTokenFromDevice;
  }
  // All work is lost but the tokens.
  void preempt() {
    slot = -1;
    bound = false;
    scheduled = 0;
    if (output.empty()) prompt_logprobs.clear();
  }
};

struct Share {
  Request* request;
  int num_tokens;
};

class Driver {
 public:
  Driver(const std::string& form, model::KvDtype dtype, const std::vector<int>& graph_rows)
      : model_(load_tiny(form)) {
    model::MemoryPlan plan;
    plan.kv = model::make_kv_geometry(model_->config, kPagePositions, dtype);
    groups_ = plan.kv.num_groups();
    plan.kv.num_blocks = kSlots * groups_ * kBlocks;
    runner_ = make_cuda_runner(model_, plan, {kSlots, kMaxTokens, kMaxLen, 0, 20, graph_rows});
  }

  int in_flight() const { return static_cast<int>(in_flight_.size()); }

  void submit(const std::vector<Share>& shares) {
    StepPlan plan;
    plan.id = ++last_id_;
    plan.blocks_per_row = kBlocks;
    for (const Share& share : shares) write(share, plan);
    in_flight_.push_back({plan.id, shares});
    runner_->submit(std::move(plan));
  }

  void collect() {
    const auto [id, shares] = std::move(in_flight_.front());
    in_flight_.pop_front();
    StepResult result = runner_->collect();
    ASSERT_EQ(result.error, "");
    ASSERT_EQ(result.id, id);
    for (const Share& share : shares) --share.request->steps_in_flight;
    for (runner::SampledToken& token : result.sampled) {
      Request& r = *shares[token.sequence].request;
      r.output.push_back(token.token);
      --r.unread;
      EXPECT_EQ(token.has_logprobs, r.params->logprobs.has_value());
      if (token.has_logprobs) r.output_logprobs.push_back(std::move(token.logprobs));
    }
    for (runner::PromptLogprobs& logprobs : result.prompt) {
      auto& to = shares[logprobs.sequence].request->prompt_logprobs;
      to.insert(to.end(), logprobs.positions.begin(), logprobs.positions.end());
    }
  }

 private:
  struct InFlight {
    uint64_t id;
    std::vector<Share> shares;
  };

  void write(const Share& share, StepPlan& plan) {
    Request& r = *share.request;
    if (!r.bound) plan.bindings.push_back({r.slot, r.params, r.prompt, r.output});
    r.bound = true;
    const int end = r.scheduled + share.num_tokens;
    SequenceStep s;
    s.slot = r.slot;
    s.num_computed = r.scheduled;
    s.num_tokens = share.num_tokens;
    s.first_token = static_cast<int32_t>(plan.tokens.size());
    s.sample = share.num_tokens == r.remaining();
    s.output_index = r.sampled();
    s.prompt_logprobs =
        r.params->prompt_logprobs.has_value() && r.sampled() == 0 && r.scheduled + 1 < r.prompt_length();
    if (end < r.prompt_length()) s.next_prompt_token = r.prompt[end];
    for (int p = r.scheduled; p < end; ++p) plan.tokens.push_back(r.token(p));
    for (int i = 0; i < groups_ * kBlocks; ++i) plan.pages.push_back(r.slot * groups_ * kBlocks + i);
    plan.sequences.push_back(s);
    r.scheduled = end;
    r.unread += s.sample;
    ++r.steps_in_flight;
  }

  std::shared_ptr<const model::Model> model_;
  std::unique_ptr<runner::Runner> runner_;
  int groups_ = 0;
  uint64_t last_id_ = 0;
  std::deque<InFlight> in_flight_;
};

class Pressure {
 public:
  explicit Pressure(unsigned seed) : random_(seed) {}

  int preemptions() const { return preemptions_; }
  std::deque<Request>& requests() { return requests_; }

  // Who takes part in the next step, with how many tokens.
  std::vector<Share> next() {
    retire();
    while (static_cast<int>(running_.size()) < kSlots && below(3) > 0) admit();
    if (running_.empty()) admit();
    int budget = kMaxTokens;
    std::vector<Share> shares;
    std::shuffle(running_.begin(), running_.end(), random_);
    for (Request* r : running_) {
      const int most = std::min(r->remaining(), budget);
      if (most == 0 || below(5) == 0) continue;
      const int count = below(3) == 0 ? most : 1 + below(below(2) == 0 ? most : std::min(most, 7));
      shares.push_back({r, count});
      budget -= count;
    }
    return shares;
  }

 private:
  int below(int n) { return static_cast<int>(random_() % n); }

  void retire() {
    for (size_t i = 0; i < running_.size();) {
      Request* r = running_[i];
      const bool idle = r->steps_in_flight == 0;
      const bool done = idle && r->remaining() == 0, out = idle && !done && below(25) == 0;
      if (!done && !out) {
        ++i;
        continue;
      }
      slot_taken_[r->slot] = false;
      if (out) {
        r->preempt();
        preempted_.push_back(r);
        ++preemptions_;
      }
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  void admit() {
    Request* r = nullptr;
    if (!preempted_.empty() && below(2) == 0) {
      r = preempted_.front();
      preempted_.pop_front();
    } else {
      requests_.push_back(make_request(static_cast<int>(requests_.size())));
      r = &requests_.back();
    }
    while (slot_taken_[r->slot = below(kSlots)]) {
    }
    slot_taken_[r->slot] = true;
    running_.push_back(r);
  }

  Request make_request(int id) {
    Request r;
    r.id = id;
    const int length = below(6) == 0 ? 500 + below(700) : 1 + below(150);
    for (int i = 0; i < length; ++i) r.prompt.push_back(below(1000));
    SamplingParams p;
    p.max_tokens = 1 + below(24);
    p.seed = random_();
    p.temperature = below(4) == 0 ? 0.0 : 0.5 + 0.25 * below(5);
    if (below(2) == 0) p.top_p = 0.9;
    if (below(3) == 0) p.top_k = 1 + below(50);
    if (below(4) == 0) p.min_p = 0.02;
    if (below(3) == 0) p.repetition_penalty = 1.2;
    if (below(3) == 0) p.presence_penalty = 0.5, p.frequency_penalty = 0.3;
    if (below(4) == 0) p.logit_bias = {{below(1000), 3.0f}};
    if (below(4) == 0) p.min_tokens = 5, p.eos_token_ids = {1001, 1007}, p.stop_token_ids = {below(1000)};
    if (below(2) == 0) p.logprobs = below(6);
    if (below(4) == 0) p.prompt_logprobs = below(3);
    p.processed_logprobs = below(4) == 0;
    r.params = std::make_shared<SamplingParams>(p);
    return r;
  }

  std::mt19937 random_;
  std::deque<Request> requests_;
  std::vector<Request*> running_;
  std::deque<Request*> preempted_;
  bool slot_taken_[kSlots] = {};
  int preemptions_ = 0;
};

Request run_alone(Driver& driver, const Request& like) {
  Request alone;
  alone.prompt = like.prompt;
  alone.params = like.params;
  alone.slot = like.id % kSlots;
  for (size_t i = 0; i < std::max<size_t>(like.output.size(), 1); ++i) {
    driver.submit({{&alone, alone.remaining()}});
    driver.collect();
  }
  return alone;
}

bool same(const sampling::TokenLogprob& a, const sampling::TokenLogprob& b) {
  return a.token == b.token && a.rank == b.rank &&
         std::bit_cast<uint32_t>(a.logprob) == std::bit_cast<uint32_t>(b.logprob);
}

// `part` may have ended sooner.
void expect_beginning(const std::vector<PositionLogprobs>& part, const std::vector<PositionLogprobs>& whole) {
  ASSERT_LE(part.size(), whole.size());
  for (size_t i = 0; i < part.size(); ++i) {
    ASSERT_TRUE(same(part[i].chosen, whole[i].chosen)) << "position " << i;
    ASSERT_EQ(part[i].top.size(), whole[i].top.size());
    for (size_t j = 0; j < part[i].top.size(); ++j) {
      ASSERT_TRUE(same(part[i].top[j], whole[i].top[j])) << "position " << i << ", alternative " << j;
    }
  }
}

void replay(const std::string& form, model::KvDtype dtype, unsigned seed) {
  Driver driver(form, dtype, {1, 2, 3, 4, 5, 6, 7}), eager(form, dtype, {});
  Pressure pressure(seed);
  for (int steps = 0; steps < kSteps;) {
    const std::vector<Share> shares = pressure.next();
    if (!shares.empty()) {
      driver.submit(shares);
      ++steps;
    }
    if (driver.in_flight() == 2 || (shares.empty() && driver.in_flight() > 0)) driver.collect();
  }
  while (driver.in_flight() > 0) driver.collect();

  size_t tokens = 0;
  for (const Request& r : pressure.requests()) {
    SCOPED_TRACE(testing::Message() << form << ", seed " << seed << ", request " << r.id << ", prompt of "
                                    << r.prompt.size() << " tokens");
    const Request alone = run_alone(eager, r);
    ASSERT_EQ(r.output, std::vector<int32_t>(alone.output.begin(), alone.output.begin() + r.output.size()));
    expect_beginning(r.output_logprobs, alone.output_logprobs);
    expect_beginning(r.prompt_logprobs, alone.prompt_logprobs);
    tokens += r.output.size();
  }
  EXPECT_GT(pressure.requests().size(), 30u);
  EXPECT_GT(pressure.preemptions(), 5);
  EXPECT_GT(tokens, 300u);
}

TEST(CudaRandomBatches, two_hundred_give_each_request_the_bits_that_it_gets_alone_fp8) {
  NEEDS_GPU();
  replay("tiny-a-fp8", model::KvDtype::kFp8E4m3, 1);
}

TEST(CudaRandomBatches, two_hundred_give_each_request_the_bits_that_it_gets_alone_bf16) {
  NEEDS_GPU();
  replay("tiny-a-bf16", model::KvDtype::kBf16, 2);
}

}  // namespace
}  // namespace outrider::cuda

// Runs rows through the device's sampler and says whether the tokens are those of the CPU's.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "cuda/sampler.h"
#include "sampling/philox.h"
#include "sampling/sampler.h"

namespace outrider::cuda {

using sampling::SamplingParams;
using sampling::TokenHistory;

inline constexpr float kNoLogit = -std::numeric_limits<float>::infinity();

inline std::vector<float> random_logits(int n, uint32_t seed, float spread = 2.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> out(n);
  for (float& x : out) x = normal(random);
  return out;
}

struct Request {
  std::string name;
  SamplingParams params;
  std::vector<int32_t> prompt = {}, output = {};
  std::vector<float> logits = {};
  bool sample = true;
  int32_t prompt_token = 0;

  TokenHistory history() const { return {prompt, output}; }
};

struct Outcome {
  int32_t token = 0;
  bool has_logprobs = false;
  sampling::PositionLogprobs logprobs;
};

inline bool same(const sampling::TokenLogprob& a, const sampling::TokenLogprob& b) {
  return a.token == b.token && a.rank == b.rank && (a.logprob == b.logprob);
}
inline bool same(const Outcome& a, const Outcome& b) {
  return a.token == b.token && a.has_logprobs == b.has_logprobs &&
         (!a.has_logprobs ||
          (same(a.logprobs.chosen, b.logprobs.chosen) &&
           std::equal(a.logprobs.top.begin(), a.logprobs.top.end(), b.logprobs.top.begin(),
                      b.logprobs.top.end(), [](const auto& x, const auto& y) { return same(x, y); })));
}

class SamplerRig {
 public:
  explicit SamplerRig(SamplerShape shape)
      : shape_(shape),
        sampler_(shape),
        logits_(sizeof(float) * shape.vocab * shape.max_rows),
        results_(shape) {}

  Sampler& sampler() { return sampler_; }
  const SamplerShape& shape() const { return shape_; }
  const Stream& stream() const { return stream_; }

  void bind(const Request& request, int slot) {
    sampler_.bind({slot, std::make_shared<SamplingParams>(request.params), request.prompt, request.output},
                  stream_);
  }

  // Row i from slots[i], already bound.
  std::vector<Outcome> run(const std::vector<Request>& requests, const std::vector<int>& slots,
                           const uint32_t* masks = nullptr) {
    std::vector<float> all;
    std::vector<SampleRow> rows;
    for (size_t i = 0; i < requests.size(); ++i) {
      const Request& r = requests[i];
      all.insert(all.end(), r.logits.begin(), r.logits.end());
      rows.push_back({slots[i], r.sample, static_cast<int>(r.output.size()), r.prompt_token,
                      masks == nullptr ? -1 : static_cast<int>(i)});
    }
    EXPECT_LE(static_cast<int>(rows.size()), sampler_.fitting_rows(rows));
    check(cudaMemcpyAsync(logits_.as<float>(), all.data(), sizeof(float) * all.size(), cudaMemcpyHostToDevice,
                          stream_),
          "cudaMemcpy");
    sampler_.run(logits_.as<float>(), rows, masks, results_, stream_);
    stream_.wait();
    std::vector<Outcome> out;
    for (int i = 0; i < results_.rows(); ++i) {
      Outcome outcome{results_.token(i), results_.has_logprobs(i), {}};
      if (outcome.has_logprobs) outcome.logprobs = results_.logprobs(i);
      out.push_back(std::move(outcome));
    }
    return out;
  }

  // Slot i for request i.
  std::vector<Outcome> bind_and_run(const std::vector<Request>& requests) {
    std::vector<int> slots(requests.size());
    std::iota(slots.begin(), slots.end(), 0);
    for (size_t i = 0; i < requests.size(); ++i) bind(requests[i], slots[i]);
    return run(requests, slots);
  }

 private:
  SamplerShape shape_;
  Stream stream_;
  Sampler sampler_;
  DeviceBuffer logits_;
  SampleResults results_;
};

// What the CPU's sampler makes of a request, and how much room rounding leaves.
class Expected {
 public:
  Expected(const Request& request, int valid_vocab) : request_(request) {
    raw_ = request.logits;
    std::fill(raw_.begin() + valid_vocab, raw_.end(), kNoLogit);
    processed_ = raw_;
    const int index = static_cast<int>(request.output.size());
    token_ = sampling::Sampler().sample(processed_, request.params, request.history(), index).token;
    sampling::sanitize(raw_);
    uniform_ = sampling::uniform(request.params.seed, index);
    if (request.params.temperature >= sampling::kGreedyTemperature && request.params.top_p < 1.0)
      find_unsure();
  }

  int32_t token() const { return token_; }
  // The probability of the tokens that rounding may put into the nucleus or out of it.
  double unsure() const { return unsure_mass_; }

  void expect_meets(const Outcome& got) const {
    EXPECT_TRUE(accepts(got.token)) << request_.name << ": token " << got.token << " instead of " << token_
                                    << ", draw " << uniform_ << ", unsure " << unsure_mass_;
    const SamplingParams& p = request_.params;
    ASSERT_EQ(got.has_logprobs, p.logprobs.has_value()) << request_.name;
    if (!p.logprobs || (p.processed_logprobs && unsure_mass_ > 0)) return;
    expect_close(got.logprobs, sampling::logprobs_of(p.processed_logprobs ? processed_ : raw_, got.token,
                                                     *p.logprobs, p.logprobs_are_logits));
  }

  void expect_close(const sampling::PositionLogprobs& got, const sampling::PositionLogprobs& wanted) const {
    expect_close(got.chosen, wanted.chosen);
    ASSERT_EQ(got.top.size(), wanted.top.size()) << request_.name;
    for (size_t i = 0; i < got.top.size(); ++i) expect_close(got.top[i], wanted.top[i]);
  }

 private:
  void expect_close(const sampling::TokenLogprob& got, const sampling::TokenLogprob& wanted) const {
    EXPECT_EQ(got.token, wanted.token) << request_.name;
    EXPECT_EQ(got.rank, wanted.rank) << request_.name;
    if (std::isinf(wanted.logprob)) {
      EXPECT_EQ(got.logprob, wanted.logprob) << request_.name;
    } else {
      EXPECT_NEAR(got.logprob, wanted.logprob, 1e-5 * std::max(1.0f, std::abs(wanted.logprob)))
          << request_.name;
    }
  }

  // Tokens whose share of the cumulative probability, best first, ends or begins within the tolerance of p.
  void find_unsure() {
    std::vector<float> row = request_.logits;
    std::copy(raw_.begin(), raw_.end(), row.begin());
    SamplingParams open = request_.params;
    open.top_p = 1.0;
    sampling::Sampler().sample(row, open, request_.history(), static_cast<int>(request_.output.size()));
    const float max = *std::max_element(row.begin(), row.end());
    std::vector<int32_t> order(row.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return row[a] > row[b]; });
    double total = 0;
    for (float x : row) total += x == kNoLogit ? 0.0 : std::exp(double{x} - max);
    double before = 0;
    unsure_.assign(row.size(), 0);
    float edge = kNoLogit;
    for (int32_t id : order) {
      const double weight = row[id] == kNoLogit ? 0.0 : std::exp(double{row[id]} - max);
      if (before < request_.params.top_p * total) edge = row[id];
      unsure_[id] = std::abs(before / total - request_.params.top_p) < kDrawTolerance;
      before += weight;
    }
    double kept = 0;
    const bool rounded = request_.params.temperature != 1.0 && std::count(row.begin(), row.end(), edge) > 1;
    for (size_t id = 0; id < row.size(); ++id) {
      const double weight = row[id] == kNoLogit ? 0.0 : std::exp(double{row[id]} - max);
      if (rounded && row[id] == edge) unsure_[id] = 1;  // scaled logits that differed before
      if (weight == 0.0) unsure_[id] = 0;
      if (unsure_[id]) unsure_mass_ += weight;
      if (processed_[id] != kNoLogit) kept += weight;
    }
    unsure_mass_ /= kept;
  }
  bool accepts(int32_t token) const {
    if (token == token_) return true;
    if (token < 0 || token >= static_cast<int32_t>(raw_.size()) ||
        request_.params.temperature < sampling::kGreedyTemperature) {
      return false;
    }
    const bool unsure = !unsure_.empty() && unsure_[token];
    if (processed_[token] == kNoLogit && !unsure) return false;
    const float max = *std::max_element(processed_.begin(), processed_.end());
    double before = 0, total = 0, own = 0;
    for (size_t id = 0; id < processed_.size(); ++id) {
      const double weight = processed_[id] == kNoLogit ? 0.0 : std::exp(double{processed_[id]} - max);
      if (static_cast<int32_t>(id) < token) before += weight;
      if (static_cast<int32_t>(id) == token) own = weight;
      total += weight;
    }
    const double slack = kDrawTolerance + 2 * unsure_mass_;
    return uniform_ > before / total - slack && uniform_ < (before + own) / total + slack;
  }

  const Request& request_;
  std::vector<float> raw_, processed_;
  std::vector<char> unsure_;
  double unsure_mass_ = 0;
  double uniform_ = 0;
  int32_t token_ = 0;
};

}  // namespace outrider::cuda

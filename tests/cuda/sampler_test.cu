#include <functional>

#include "cuda/needs_gpu.h"
#include "cuda/sampler_rig.h"
#include "sampling/hostile_params.h"
#include "sampling/reference.h"

namespace outrider::cuda {
namespace {

constexpr int kVocab = 1003;  // rows at odd addresses, slices of unequal size
constexpr int kValid = 997;

SamplerShape shape_of(int vocab, int valid, int slots = 64) {
  return {.max_slots = slots, .max_rows = slots, .vocab = vocab, .valid_vocab = valid, .max_model_len = 4096};
}

// Each knob alone.
std::vector<Request> knobs(int vocab) {
  std::vector<Request> all;
  auto add = [&](const std::string& name, auto set, std::vector<int32_t> prompt = {},
                 std::vector<int32_t> output = {}) {
    Request r{name, {}, std::move(prompt), std::move(output)};
    r.params.seed = 770 + all.size();
    set(r.params);
    r.logits = random_logits(vocab, static_cast<uint32_t>(all.size() + 1));
    all.push_back(std::move(r));
  };
  add("plain", [](SamplingParams&) {});
  add("greedy", [](SamplingParams& p) { p.temperature = 0.0; });
  add("cold", [](SamplingParams& p) { p.temperature = 0.4; });
  add("hot", [](SamplingParams& p) { p.temperature = 3.0; });
  add("top_k", [](SamplingParams& p) { p.top_k = 7; });
  add("top_k_one", [](SamplingParams& p) { p.top_k = 1; });
  add("top_k_most", [](SamplingParams& p) { p.top_k = 900; });
  add("top_k_larger_than_the_vocabulary", [](SamplingParams& p) { p.top_k = 100000; });
  add("top_p", [](SamplingParams& p) { p.top_p = 0.8; });
  add("top_p_tiny", [](SamplingParams& p) { p.top_p = 1e-6; });
  add("top_p_nearly_one", [](SamplingParams& p) { p.top_p = 0.9999; });
  add("model_defaults", [](SamplingParams& p) {
    p.temperature = 0.6;
    p.top_p = 0.9;
  });
  add("min_p", [](SamplingParams& p) { p.min_p = 0.1; });
  add("min_p_one", [](SamplingParams& p) { p.min_p = 1.0; });
  add("logit_bias", [](SamplingParams& p) { p.logit_bias = {{3, 5.0f}, {9, -100.0f}, {996, 9.5f}}; });
  add("many_biases", [](SamplingParams& p) {
    for (int id = 0; id < 400; ++id) p.logit_bias.emplace_back(id, 0.01f * static_cast<float>(id % 37));
  });
  add("allowed", [](SamplingParams& p) { p.allowed_token_ids = {2, 5, 11, 12, 300, 599, 996, 1002}; });
  add("repetition", [](SamplingParams& p) { p.repetition_penalty = 1.7; }, {1, 2, 3, 4, 5, 6, 7, 8},
      {9, 9, 10, 3});
  add("presence", [](SamplingParams& p) { p.presence_penalty = 1.5; }, {1, 2, 3}, {3, 4, 4, 4, 20, 21});
  add("frequency", [](SamplingParams& p) { p.frequency_penalty = -1.7; }, {1, 2, 3}, {3, 4, 4, 4, 20, 21});
  add(
      "frequency_of_many", [](SamplingParams& p) { p.frequency_penalty = -0.04; }, {1, 2, 3},
      std::vector<int32_t>(300, 77));
  add("bad_words",
      [](SamplingParams& p) {
        p.temperature = 0.0;
        p.bad_words = {{8}, {4, 5, 6}, {9, 6, 7}, {5, 10}, {4, 5, 11}, {1, 2, 3, 4, 5, 12}};
        p.logit_bias = {{8, 50.0f}, {6, 60.0f}, {10, 55.0f}, {11, 52.0f}, {12, 40.0f}, {7, 30.0f}};
      },
      {}, {4, 5});
  add("min_tokens",
      [](SamplingParams& p) {
        p.temperature = 0.0;
        p.min_tokens = 3;
        p.eos_token_ids = {0, 1};
        p.stop_token_ids = {17, 500, 17, 5000};
        p.logit_bias = {{17, 50.0f}, {500, 60.0f}, {2, 20.0f}};
      },
      {}, {4, 5});
  add("min_tokens_reached",
      [](SamplingParams& p) {
        p.temperature = 0.0;
        p.min_tokens = 2;
        p.eos_token_ids = {0, 1};
        p.logit_bias = {{1, 50.0f}};
      },
      {}, {4, 5});
  return all;
}

SamplingParams random_params(std::mt19937& random, int vocab) {
  auto pick = [&](std::initializer_list<double> values) { return values.begin()[random() % values.size()]; };
  auto id = [&] { return static_cast<int32_t>(random() % vocab); };
  SamplingParams p;
  p.temperature = pick({0, 0.3, 0.6, 1, 1, 2.5});
  p.top_p = pick({0.1, 0.5, 0.9, 0.99, 1, 1});
  p.top_k = static_cast<int64_t>(pick({0, 0, 1, 5, 50, 400}));
  p.min_p = pick({0, 0, 0.01, 0.2});
  p.repetition_penalty = pick({1, 1, 1.3, 0.8});
  p.presence_penalty = pick({0, 0, 1.1, -0.5});
  p.frequency_penalty = pick({0, 0, 0.4, -0.3});
  p.seed = random();
  if (random() % 3 == 0) p.logit_bias = {{id(), 4.0f}, {-1, 3.0f}};
  if (random() % 4 == 0) p.bad_words = {{id()}, {id(), id()}, {7, id()}};
  if (random() % 4 == 0) {
    for (int i = 0; i < 40; ++i) p.allowed_token_ids.push_back(id());
  }
  if (random() % 2 == 0) {
    p.min_tokens = static_cast<int64_t>(random() % 8);
    p.eos_token_ids = {id(), id()};
  }
  if (random() % 2 == 0) {
    p.logprobs = static_cast<int>(random() % 20);
    p.processed_logprobs = random() % 2;
    p.logprobs_are_logits = random() % 3 == 0;
  }
  return p;
}

Request random_request(std::mt19937& random, int vocab) {
  Request r;
  r.params = random_params(random, vocab);
  for (int n = static_cast<int>(random() % 30); n > 0; --n)
    r.prompt.push_back(static_cast<int32_t>(random() % vocab));
  for (int n = static_cast<int>(random() % 10); n > 0; --n)
    r.output.push_back(static_cast<int32_t>(random() % vocab));
  r.logits = random_logits(vocab, random(), random() % 2 ? 2.0f : 0.5f);
  if (random() % 4 == 0) {  // many ties
    for (float& x : r.logits) x = std::round(x * 2) / 2;
  }
  return r;
}

void expect_all_meet(const std::vector<Request>& requests, const std::vector<Outcome>& got, int valid) {
  ASSERT_EQ(requests.size(), got.size());
  int different = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const Expected expected(requests[i], valid);
    expected.expect_meets(got[i]);
    different += got[i].token != expected.token();
  }
  // Rounding decides seldom.
  EXPECT_LE(different, 1 + static_cast<int>(requests.size()) / 50);
}

// Each round with seeds of its own.
void expect_rounds_meet(SamplerRig& rig, std::vector<Request> requests, int rounds, int valid) {
  for (int round = 0; round < rounds; ++round) {
    for (Request& r : requests) r.params.seed += 1000;
    expect_all_meet(requests, rig.bind_and_run(requests), valid);
  }
}

TEST(Sampler, every_knob_alone_chooses_the_token_of_the_cpu) {
  NEEDS_GPU();
  SamplerRig rig(shape_of(kVocab, kValid));
  expect_rounds_meet(rig, knobs(kVocab), 8, kValid);
}

TEST(Sampler, random_combinations_choose_the_token_of_the_cpu_and_its_logprobs) {
  NEEDS_GPU();
  std::mt19937 random(5);
  for (int vocab : {60, 1003, 1024, 9001}) {
    SamplerRig rig(shape_of(vocab, vocab - 1));
    for (int round = 0; round < 4; ++round) {
      std::vector<Request> requests;
      for (int i = 0; i < 64; ++i) {
        requests.push_back(random_request(random, vocab));
        requests.back().name = "vocab " + std::to_string(vocab) + " round " + std::to_string(round) +
                               " row " + std::to_string(i);
      }
      expect_all_meet(requests, rig.bind_and_run(requests), vocab - 1);
    }
  }
}

TEST(Sampler, the_models_vocabulary_chooses_the_token_of_the_cpu) {
  NEEDS_GPU();
  constexpr int kScout = 202048;
  SamplerRig rig(shape_of(kScout, kScout - 200, 24));
  std::vector<Request> requests;
  const float spreads[] = {0.01f, 1.0f, 4.0f};
  for (int i = 0; i < 24; ++i) {
    Request r;
    r.name = "row " + std::to_string(i);
    r.params.seed = i;
    r.params.temperature = i % 4 == 0 ? 1.0 : 0.6;
    r.params.top_p = i % 4 == 3 ? 1.0 : i % 2 ? 0.9 : 0.5;
    if (i % 6 == 5) r.params.top_k = 40;
    if (i % 5 == 0) r.params.logprobs = 20;
    r.logits = random_logits(kScout, i, spreads[i % 3]);
    requests.push_back(std::move(r));
  }
  const std::vector<Outcome> got = rig.bind_and_run(requests);
  for (size_t i = 0; i < requests.size(); ++i) Expected(requests[i], kScout - 200).expect_meets(got[i]);
}

// Rows that the search for the nucleus's edge could stumble over, each with several p.
std::vector<Request> nucleus_rows(int vocab) {
  const std::vector<std::pair<const char*, std::function<void(std::vector<float>&)>>> shapes = {
      {"all equal", [](auto& x) { std::fill(x.begin(), x.end(), 1.5f); }},
      {"all equal but the best",
       [](auto& x) { std::fill(x.begin(), x.end(), -2.0f), x[x.size() / 2] = 1.0f; }},
      {"one has all", [](auto& x) { x[x.size() - 1] = 300.0f; }},
      {"one is left", [](auto& x) { std::fill(x.begin(), x.end(), kNoLogit), x[x.size() / 3] = -7.0f; }},
      {"most are masked",
       [](auto& x) {
         for (size_t i = 0; i < x.size(); ++i) x[i] = i % 17 == 3 ? x[i] : kNoLogit;
       }},
      {"two values",
       [](auto& x) {
         for (float& v : x) v = v > 1.0f ? 0.0f : -1.0f;
       }},
      {"ties of bf16",
       [](auto& x) {
         for (float& v : x) v = std::round(v * 64) / 64;
       }},
      {"one bin",
       [](auto& x) {
         for (float& v : x) v = 3.0f + 1e-5f * v;
       }},
      {"next to zero",
       [](auto& x) {
         for (float& v : x) v *= 1e-38f;
       }},
      {"spiky",
       [](auto& x) {
         for (float& v : x) v *= v * v;
       }},
      {"huge", [](auto& x) {
         for (float& v : x) v *= 1e37f;
       }}};
  std::vector<Request> requests;
  for (size_t i = 0; i < shapes.size(); ++i) {
    for (double p : {1e-9, 0.3, 0.9, 0.999999, 1.0}) {
      Request r;
      r.name = std::string(shapes[i].first) + ", p " + std::to_string(p);
      r.params.seed = 31 * i + static_cast<uint64_t>(100 * p);
      r.params.top_p = p;
      r.params.temperature = i % 2 ? 0.6 : 1.0;
      r.logits = random_logits(vocab, static_cast<uint32_t>(i + 40));
      shapes[i].second(r.logits);
      requests.push_back(std::move(r));
    }
  }
  return requests;
}

TEST(Sampler, a_nucleus_with_ties_masks_and_spikes_chooses_the_token_of_the_cpu) {
  NEEDS_GPU();
  for (int vocab : {7, 1003, 20000}) {
    SamplerRig rig(shape_of(vocab, vocab));
    expect_rounds_meet(rig, nucleus_rows(vocab), 3, vocab);
  }
}

TEST(Sampler, a_nucleus_has_the_tokens_that_an_exact_sum_keeps) {
  NEEDS_GPU();
  constexpr int kRows = 64;
  SamplerRig rig(shape_of(kVocab, kVocab, kRows));
  // Probabilities 1/2, 1/4, ...: what is drawn must lie in the nucleus, and all of the nucleus is drawn.
  for (const auto& [p, kept] :
       std::vector<std::pair<double, int>>{{0.49, 1}, {0.74, 2}, {0.76, 3}, {0.93, 4}}) {
    std::vector<Request> requests(kRows);
    for (int i = 0; i < kRows; ++i) {
      Request& r = requests[i];
      r.params.seed = i;
      r.params.top_p = p;
      r.logits.assign(kVocab, kNoLogit);
      for (int rank = 0; rank < 40; ++rank) {
        r.logits[(rank * 389 + 77) % kVocab] = -static_cast<float>(rank * std::log(2.0));
      }
    }
    std::vector<int> drawn(kVocab);
    for (const Outcome& o : rig.bind_and_run(requests)) ++drawn[o.token];
    for (int rank = 0; rank < 40; ++rank) {
      const int count = drawn[(rank * 389 + 77) % kVocab];
      EXPECT_EQ(count > 0, rank < kept) << "p " << p << " rank " << rank;
    }
  }
}

TEST(Sampler, a_row_has_the_same_result_alone_and_in_company_bit_for_bit) {
  NEEDS_GPU();
  std::mt19937 random(6);
  constexpr int kRows = 40;
  SamplerRig rig(shape_of(kVocab, kValid));
  std::vector<Request> requests;
  for (int i = 0; i < kRows; ++i) requests.push_back(random_request(random, kVocab));
  const std::vector<Outcome> together = rig.bind_and_run(requests);
  for (int i = 0; i < kRows; ++i) {
    rig.bind(requests[i], (i * 7 + 3) % 64);
    const Outcome alone = rig.run({requests[i]}, {(i * 7 + 3) % 64})[0];
    EXPECT_TRUE(same(alone, together[i])) << i;
  }
}

// The slot's own history, kept by the kernel, against the CPU's.
TEST(Sampler, penalties_and_bad_words_follow_what_was_sampled_over_many_steps) {
  NEEDS_GPU();
  constexpr int kSteps = 320;
  SamplerRig rig(shape_of(kVocab, kValid));
  std::vector<Request> requests(3);
  for (Request& r : requests) {
    r.prompt = {1, 2, 3, 4, 5};
    r.params.seed = 9;
    r.params.repetition_penalty = 1.1;
  }
  requests[0].params.frequency_penalty = 0.1;  // one token again and again, more often than seven bits count
  requests[0].params.logit_bias = {{500, 30.0f}};
  requests[1].params.presence_penalty = 0.5;
  requests[1].params.top_k = 3;
  requests[1].params.bad_words = {{3, 4}, {4, 4}, {500, 501, 502}};
  requests[1].params.logit_bias = {{3, 8.0f}, {4, 8.0f}, {500, 8.0f}, {501, 8.0f}, {502, 9.0f}};
  requests[2].params.frequency_penalty = 0.3;
  requests[2].params.temperature = 0.0;
  const std::vector<int> slots = {5, 0, 2};
  for (size_t i = 0; i < requests.size(); ++i) rig.bind(requests[i], slots[i]);
  std::vector<int32_t> last(64);
  for (int step = 0; step < kSteps; ++step) {
    if (step == 160) rig.bind(requests[1], slots[1]);  // as after a preemption
    for (Request& r : requests) r.logits = random_logits(kVocab, step, 1.0f);
    const std::vector<Outcome> got = rig.run(requests, slots);
    check(cudaMemcpy(last.data(), rig.sampler().last_tokens(), 4 * last.size(), cudaMemcpyDeviceToHost),
          "copy");
    for (size_t i = 0; i < requests.size(); ++i) {
      Expected(requests[i], kValid).expect_meets(got[i]);
      EXPECT_EQ(last[slots[i]], got[i].token);
      requests[i].output.push_back(got[i].token);
    }
    if (HasFailure()) FAIL() << "in step " << step;
  }
  EXPECT_GT(std::count(requests[0].output.begin(), requests[0].output.end(), 500), 200);
}

TEST(Sampler, draws_follow_the_exact_probabilities) {
  NEEDS_GPU();
  constexpr int kSmall = 60, kRows = 512, kRounds = 40;
  SamplerRig rig(shape_of(kSmall, kSmall, kRows));
  for (const char* name : {"plain", "cold", "top_k", "top_p", "min_p", "repetition"}) {
    Request r;
    for (const Request& knob : knobs(kSmall)) {
      if (knob.name == name) r = knob;
    }
    const std::vector<int> prompt(r.prompt.begin(), r.prompt.end()), output(r.output.begin(), r.output.end());
    const test::Row p =
        test::expected_distribution(test::Row(r.logits.begin(), r.logits.end()), r.params, prompt, output);
    std::vector<int> counts(kSmall);
    std::vector<Request> requests(kRows, r);
    for (int round = 0; round < kRounds; ++round) {
      for (int i = 0; i < kRows; ++i) requests[i].params.seed = 1000 * round + i;
      for (const Outcome& o : rig.bind_and_run(requests)) ++counts[o.token];
    }
    double statistic = 0, rare = 0, rare_seen = 0;
    int cells = 0;
    for (int t = 0; t < kSmall; ++t) {
      const double expected = p[t] * kRows * kRounds;
      if (expected == 0) EXPECT_EQ(counts[t], 0) << name << " token " << t;
      if (expected < 8) {
        rare += expected, rare_seen += counts[t];
      } else {
        statistic += (counts[t] - expected) * (counts[t] - expected) / expected, ++cells;
      }
    }
    if (rare > 5) statistic += (rare_seen - rare) * (rare_seen - rare) / rare, ++cells;
    if (cells < 2) continue;
    const double a = 2.0 / (9.0 * (cells - 1));  // the limit is exceeded once in 10 000 (Wilson and Hilferty)
    EXPECT_LT(statistic, (cells - 1) * std::pow(1.0 - a + 3.719 * std::sqrt(a), 3)) << name;
  }
}

TEST(Sampler, hostile_values_choose_what_the_cpu_chooses) {
  NEEDS_GPU();
  std::mt19937 random(99);
  const float specials[] = {std::nanf(""), -kNoLogit, kNoLogit, 3e38f, -3e38f, 1e-45f, 0.0f, -0.0f};
  for (int vocab : {1, 3, 20, 61}) {
    SamplerRig rig(shape_of(vocab, vocab));
    for (int round = 0; round < 10; ++round) {
      std::vector<Request> requests(64);
      for (Request& r : requests) {
        r.name = "hostile, vocab " + std::to_string(vocab);
        r.logits.resize(vocab);
        const bool nothing = random() % 8 == 0;
        for (float& x : r.logits) {
          x = nothing        ? specials[random() % 2 * 2]
              : random() % 2 ? specials[random() % 8]
                             : static_cast<float>(random() % 100) - 50;
        }
        r.params = test::hostile_params(random, 20);
        r.prompt = {0, 1, 1, 7, 100, -3};
        r.output = r.prompt;
      }
      expect_all_meet(requests, rig.bind_and_run(requests), vocab);
    }
  }
}

TEST(Sampler, prompt_rows_give_the_logprobs_of_their_tokens_and_leave_the_slot_alone) {
  NEEDS_GPU();
  SamplerRig rig(shape_of(kVocab, kValid));
  std::vector<Request> requests(20);
  for (size_t i = 0; i < requests.size(); ++i) {
    Request& r = requests[i];
    r.params.prompt_logprobs = static_cast<int>(i) % 6;
    r.params.logprobs_are_logits = i % 3 == 0;
    r.params.temperature = 0.5;  // the prompt's are always of the raw distribution
    r.params.logit_bias = {{4, 10.0f}};
    r.sample = i % 5 == 4;
    r.prompt_token = i == 7 ? 1000 : static_cast<int32_t>(40 * i);
    r.logits = random_logits(kVocab, static_cast<uint32_t>(i));
    if (i % 2) r.logits[3] = std::nanf("");
  }
  const std::vector<Outcome> got = rig.bind_and_run(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    const Request& r = requests[i];
    const Expected expected(r, kValid);
    if (r.sample) {
      expected.expect_meets(got[i]);
      continue;
    }
    std::vector<float> raw = r.logits;
    std::fill(raw.begin() + kValid, raw.end(), kNoLogit);
    ASSERT_TRUE(got[i].has_logprobs);
    expected.expect_close(
        got[i].logprobs,
        sampling::logprobs_of(raw, r.prompt_token, *r.params.prompt_logprobs, r.params.logprobs_are_logits));
  }
  std::vector<int32_t> last(64);
  check(cudaMemcpy(last.data(), rig.sampler().last_tokens(), 4 * last.size(), cudaMemcpyDeviceToHost),
        "copy");
  EXPECT_EQ(last[0], 0);
  EXPECT_EQ(last[4], got[4].token);
}

TEST(Sampler, logprobs_of_the_whole_vocabulary_come_in_order) {
  NEEDS_GPU();
  SamplerShape shape = shape_of(kVocab, kValid);
  shape.max_logprobs = -1;
  SamplerRig rig(shape);
  std::vector<Request> requests(3);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].params.logprobs = kVocab;
    requests[i].params.top_p = 0.5;
    requests[i].params.processed_logprobs = i == 1;
    requests[i].logits = random_logits(kVocab, static_cast<uint32_t>(i));
  }
  expect_all_meet(requests, rig.bind_and_run(requests), kValid);
}

TEST(Sampler, a_mask_leaves_only_its_ids) {
  NEEDS_GPU();
  SamplerRig rig(shape_of(kVocab, kValid));
  std::vector<Request> requests(8), narrowed;
  const int words = rig.shape().mask_words();
  std::vector<uint32_t> masks(words * requests.size());
  std::mt19937 random(3);
  for (size_t i = 0; i < requests.size(); ++i) {
    Request& r = requests[i];
    r.params.seed = i;
    r.params.temperature = i % 3 == 0 ? 0.0 : 0.8;
    r.logits = random_logits(kVocab, static_cast<uint32_t>(i));
    narrowed.push_back(r);
    for (int id = 0; id < kVocab; ++id) {
      const bool allowed = random() % 10 == 0;
      if (allowed) masks[i * words + id / 32] |= 1u << (id % 32);
      if (!allowed) narrowed.back().logits[id] = kNoLogit;
    }
  }
  DeviceBuffer device(4 * masks.size());
  check(cudaMemcpyAsync(device.as<uint32_t>(), masks.data(), 4 * masks.size(), cudaMemcpyHostToDevice,
                        rig.stream()),
        "cudaMemcpy");
  std::vector<int> slots(requests.size());
  std::iota(slots.begin(), slots.end(), 0);
  for (size_t i = 0; i < requests.size(); ++i) rig.bind(requests[i], slots[i]);
  expect_all_meet(narrowed, rig.run(requests, slots, device.as<uint32_t>()), kValid);
}

}  // namespace
}  // namespace outrider::cuda

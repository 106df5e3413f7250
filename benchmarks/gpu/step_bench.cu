// Times whole steps of the CUDA runner: full-size Scout with weights made on the device, sampled with the
// model's own temperature 0.6 and top-p 0.9, two steps in flight as the engine keeps them. Batch 1 to 256,
// contexts of 1k to 128k; each sequence has pages of its own, which prompts of 8192 tokens have filled.
//
//   bench_step FOLDER [--eager | --graphs ROWS] [rows...] [prompt:TOKENS...]
//
// FOLDER holds a config.json: benchmarks/gpu/scout. With rows: only these, at 1536 positions of an empty
// cache. With prompt:TOKENS: steps of one prompt of so many tokens, alone in flight (kernels.py takes them
// apart). --eager: without CUDA graphs, which steps of up to eight rows are otherwise; --graphs ROWS: of 1,
// 2, ... 8, 16, 24... up to ROWS.
//
// Floor: for each product and for attention its bytes at 4.55 TB/s or its operations at 1500 TFLOP/s (lm_head
// 790), whichever is longer, summed; routing is taken as random.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/load.h"
#include "cuda/cuda_runner.h"
#include "cuda/step_graphs.h"

namespace outrider::cuda {
namespace {

using model::KvGeometry;
using runner::StepPlan;

constexpr int kPage = 64;
constexpr int kPrompt = 8192;  // of a step that fills pages
constexpr int kSteps = 24, kPrompts = 7;
constexpr int kWarmUp = StepGraphs::kPatience + 4;  // what recurs has its graph then
constexpr int kMaxContext = 131072, kMaxBatch = 256;
constexpr int64_t kReserve = int64_t{512} << 20;
constexpr double kBandwidth = 4.55e12, kFp8Rate = 1500e12, kBf16Rate = 790e12;

struct Point {
  int batch, context;  // positions up to which the last measured step comes
};
constexpr Point kPoints[] = {{1, 1024},  {2, 1024},   {4, 1024},   {8, 1024}, {16, 1024}, {32, 1024},
                             {64, 1024}, {128, 1024}, {256, 1024}, {1, 4096}, {1, 8192},  {1, 16384},
                             {1, 32768}, {1, 65536},  {1, 131072}, {8, 4096}, {8, 8192},  {8, 16384},
                             {8, 32768}, {32, 4096},  {32, 8192}};

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double longer(double bytes, double operations, double rate) {
  return std::max(bytes / kBandwidth, operations / rate);
}

// Seconds. `keys_full`, `keys_chunked`: read by all rows together in one layer of a kind, `pairs_*`: (row,
// key) pairs.
double floor_of(const model::LlamaConfig& c, double rows, double logit_rows, double keys_full,
                double keys_chunked, double pairs_full, double pairs_chunked) {
  const auto product = [&](double features, double k) {
    return longer(features * k, 2 * rows * features * k, kFp8Rate);
  };
  const double hidden = c.hidden_size, inner = c.intermediate_size;
  const double active = c.num_experts * (1 - std::pow(1 - 1.0 / c.num_experts, rows));
  const auto both = [&](double features, double k) {  // shared expert and routed ones
    return longer((1 + active) * features * k, 4 * rows * features * k, kFp8Rate);
  };
  const auto attention = [&](double keys, double pairs) {
    return longer(keys * 2 * c.kv_size(), pairs * 4 * c.q_size(), kBf16Rate);
  };
  const double layer = product(c.q_size() + 2 * c.kv_size(), hidden) + product(hidden, c.q_size()) +
                       both(2 * inner, hidden) + both(hidden, inner);
  double total = c.num_layers * layer;
  for (int l = 0; l < c.num_layers; ++l)
    total +=
        c.is_chunked_layer(l) ? attention(keys_chunked, pairs_chunked) : attention(keys_full, pairs_full);
  const double logits = static_cast<double>(c.vocab_size) * hidden;
  return total + longer(2 * logits, 2 * logit_rows * logits, kBf16Rate);
}

class Bench {
 public:
  Bench(const std::string& folder, int graph_rows) {
    checkpoint::LoadOptions load;
    load.format = checkpoint::LoadFormat::kDummy;
    load.quantization = "modelopt";
    load.write_dummy = false;
    model_ = std::make_shared<model::Model>(checkpoint::load(folder, load));
    CudaOptions options;
    options.max_num_seqs = kMaxBatch;
    options.max_num_batched_tokens = kPrompt;
    options.max_model_len = kMaxContext;
    options.graph_rows.clear();
    for (int rows = 1; rows <= graph_rows; rows += rows < 8 ? 1 : 8) options.graph_rows.push_back(rows);
    model::MemoryOptions memory;
    memory.max_model_len = kMaxContext;
    memory.max_num_seqs = kMaxBatch;
    memory.block_size = kPage;
    memory.kv_dtype = model::KvDtype::kFp8E4m3;
    memory.device_bytes = find_device().free_bytes - kReserve;
    memory.rows = device_memory(*model_, options, memory.kv_dtype);
    const model::MemoryPlan plan = model::plan_memory(*model_, memory);
    kv_ = plan.kv;
    runner_ = make_cuda_runner(model_, plan, options);
    auto params = std::make_shared<sampling::SamplingParams>();
    params->temperature = 0.6;
    params->top_p = 0.9;
    params->ignore_eos = true;
    params->seed = 1;
    params_ = params;
  }

  void print_graphs() const {
    const GraphCounts counts = graph_counts(*runner_);
    std::printf("CUDA graphs: %zu, %llu captured, %llu launched\n", counts.graphs,
                static_cast<unsigned long long>(counts.captures),
                static_cast<unsigned long long>(counts.launches));
  }

  // Prompts over as many pages as any point uses.
  void fill() {
    int most = 0;
    for (const Point& point : kPoints) most = std::max(most, pages_of(point) * point.batch);
    const int a_prompt = kPrompt / kPage * kv_.num_groups();
    std::vector<double> times;
    for (int first = 0; first < std::min(most, kv_.num_blocks) - a_prompt; first += a_prompt) {
      times.push_back(seconds_of_prompt(kPrompt, first));
    }
    print_prompt(kPrompt, times);
  }

  void run_prompt(int tokens) {
    std::vector<double> times;
    for (int i = 0; i < kPrompts; ++i) times.push_back(seconds_of_prompt(tokens, 0));
    print_prompt(tokens, times);
  }

  void run(const Point& point) {
    if (pages_of(point) * point.batch > kv_.num_blocks) return;
    const int begin = point.context - kPage,
              blocks = point.context / kPage;  // all steps within the last page
    std::vector<double> ends;
    for (int step = 0; step < kSteps + kWarmUp; ++step) {
      runner_->submit(plan_of(point, begin + step, step, blocks));
      if (step == 0) continue;
      check_step();
      ends.push_back(seconds_now());
    }
    check_step();
    std::vector<double> times;
    for (size_t i = kWarmUp; i < ends.size(); ++i) times.push_back(ends[i] - ends[i - 1]);
    std::sort(times.begin(), times.end());
    const double keys = double(point.batch) * begin, chunk = kv_.chunk_size,
                 chunked = double(point.batch) * (begin % static_cast<int>(chunk));
    print("step at " + std::to_string(point.context), point.batch, times[times.size() / 2],
          floor_of(model_->config, point.batch, point.batch, keys, chunked, keys, chunked));
  }

 private:
  int32_t token() { return static_cast<int32_t>(random_() % 200000); }
  int first_chunk_block(const Point& point) const {
    return (point.context - 1) / kv_.chunk_size * kv_.chunk_size / kPage;
  }
  // Of one sequence.
  int pages_of(const Point& point) const {
    const int blocks = point.context / kPage;
    int pages = 0;
    for (const bool chunked : kv_.group_is_chunked)
      pages += chunked ? blocks - first_chunk_block(point) : blocks;
    return pages;
  }

  // From submitting to the result, with nothing else in flight.
  double seconds_of_prompt(int tokens, int first_page) {
    const int blocks = (tokens + kPage - 1) / kPage;
    StepPlan plan = new_plan(blocks);
    plan.bindings.push_back({0, params_, {1}, {}});
    plan.sequences.push_back({.slot = 0, .num_computed = 0, .num_tokens = tokens, .sample = true});
    for (int i = 0; i < tokens; ++i) plan.tokens.push_back(token());
    for (int i = 0; i < blocks * kv_.num_groups(); ++i) plan.pages.push_back(first_page + i);
    const double begin = seconds_now();
    runner_->submit(std::move(plan));
    check_step();
    return seconds_now() - begin;
  }
  void print_prompt(int tokens, std::vector<double>& times) const {
    std::sort(times.begin(), times.end());
    const double pairs = 0.5 * tokens * tokens;
    print("step, a prompt", tokens, times[times.size() / 2],
          floor_of(model_->config, tokens, 1, tokens, tokens, pairs, pairs));
  }

  StepPlan new_plan(int blocks) {
    StepPlan plan;
    plan.id = ++steps_;
    plan.blocks_per_row = blocks;
    return plan;
  }

  StepPlan plan_of(const Point& point, int position, int step, int blocks) {
    StepPlan plan = new_plan(blocks);
    int next = 0;
    for (int s = 0; s < point.batch; ++s) {
      if (step == 0) plan.bindings.push_back({s, params_, {1}, {}});
      plan.sequences.push_back({.slot = s,
                                .num_computed = position,
                                .num_tokens = 1,
                                .first_token = s,
                                .sample = true,
                                .output_index = step});
      plan.tokens.push_back(step == 0 ? token() : runner::kTokenFromDevice);
      for (const bool chunked : kv_.group_is_chunked) {
        for (int b = 0; b < blocks; ++b)
          plan.pages.push_back(chunked && b < first_chunk_block(point) ? runner::kNoPage : next++);
      }
    }
    return plan;
  }

  void check_step() {
    const runner::StepResult result = runner_->collect();
    if (!result.error.empty()) throw StartupError(result.error);
  }

  static void print(const std::string& name, int rows, double seconds, double floor) {
    std::printf("%-28s %6d rows %9.1f us  floor %9.1f  ratio %.2f  %6.0f tokens/s\n", name.c_str(), rows,
                seconds * 1e6, floor * 1e6, seconds / floor, rows / seconds);
    std::fflush(stdout);
  }

  std::shared_ptr<model::Model> model_;
  KvGeometry kv_;
  std::unique_ptr<runner::Runner> runner_;
  std::shared_ptr<const sampling::SamplingParams> params_;
  std::mt19937 random_{1};
  uint64_t steps_ = 0;
};

}  // namespace
}  // namespace outrider::cuda

int main(int argc, char** argv) {
  using namespace outrider;
  constexpr std::string_view kPromptArgument = "prompt:";
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s FOLDER [--eager | --graphs ROWS] [rows...] [prompt:TOKENS...]\n",
                 argv[0]);
    return 2;
  }
  log::configure({.level = log::Level::kDebug});  // for the spread over experts
  try {
    int first = 2, graph_rows = 8;
    if (argc > 2 && std::string_view(argv[2]) == "--eager") {
      first = 3;
      graph_rows = 0;
    } else if (argc > 3 && std::string_view(argv[2]) == "--graphs") {
      first = 4;
      graph_rows = std::clamp(std::atoi(argv[3]), 0, cuda::kMaxBatch);
    }
    cuda::Bench bench(argv[1], graph_rows);
    for (int i = first; i < argc; ++i) {
      const std::string_view what = argv[i];
      if (what.starts_with(kPromptArgument)) {
        bench.run_prompt(std::clamp(std::atoi(argv[i] + kPromptArgument.size()), 1, cuda::kPrompt));
      } else {
        bench.run({std::clamp(std::atoi(argv[i]), 1, cuda::kMaxBatch), 1536});
      }
    }
    if (argc == first) {
      bench.fill();
      for (const cuda::Point& point : cuda::kPoints) bench.run(point);
    }
    bench.print_graphs();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

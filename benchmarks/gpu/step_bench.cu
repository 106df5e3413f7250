// Times whole decode steps of a model with generated weights, as the engine runs them: two steps in flight,
// sampling with temperature 0.6 and top-p 0.9, every sequence with 1536 positions in the (empty) cache.
//
//   bench_step DIR [rows...]
//
// DIR holds a config.json, for full-size Scout benchmarks/gpu/scout. Floor: see docs/cuda.md.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "checkpoint/load.h"
#include "cuda/cuda_runner.h"
#include "cuda/kv_cache.h"

namespace outrider::cuda {
namespace {

constexpr int kContext = 1536, kMaxLen = 2048, kSteps = 64;
constexpr int kBlocks = kMaxLen / kPagePositions;

class Steps {
 public:
  Steps(runner::Runner& runner, int rows, int vocab) : runner_(runner), rows_(rows) {
    sampling::SamplingParams params;
    params.temperature = 0.6;
    params.top_p = 0.9;
    params.max_tokens = kMaxLen;
    params.ignore_eos = true;
    params_ = std::make_shared<const sampling::SamplingParams>(params);
    std::mt19937 random(static_cast<unsigned>(rows));
    for (int s = 0; s < rows; ++s) first_.push_back(static_cast<int32_t>(random() % vocab));
  }

  runner::StepPlan plan(int step) const {
    const int groups = runner_.kv().num_groups();
    runner::StepPlan plan;
    plan.id = static_cast<uint64_t>(step);
    plan.blocks_per_row = kBlocks;
    for (int s = 0; s < rows_; ++s) {
      if (step == 0) plan.bindings.push_back({s, params_, {first_[s]}, {}});
      plan.sequences.push_back({s, kContext + step, 1, s, true, step, false, runner::kTokenFromDevice});
      plan.tokens.push_back(step == 0 ? first_[s] : runner::kTokenFromDevice);
      for (int i = 0; i < groups * kBlocks; ++i) plan.pages.push_back(s * groups * kBlocks + i);
    }
    return plan;
  }

  // Milliseconds between the ends of steps, sorted.
  std::vector<double> run() {
    std::vector<double> ms;
    auto last = std::chrono::steady_clock::now();
    runner_.submit(plan(0));
    for (int step = 1; step <= kSteps; ++step) {
      if (step < kSteps) runner_.submit(plan(step));
      const runner::StepResult result = runner_.collect();
      if (!result.error.empty()) {
        std::fprintf(stderr, "%s\n", result.error.c_str());
        std::exit(1);
      }
      const auto now = std::chrono::steady_clock::now();
      if (step > 8) ms.push_back(std::chrono::duration<double, std::milli>(now - last).count());
      last = now;
    }
    std::sort(ms.begin(), ms.end());
    return ms;
  }

 private:
  runner::Runner& runner_;
  const int rows_;
  std::shared_ptr<const sampling::SamplingParams> params_;
  std::vector<int32_t> first_;
};

}  // namespace

int bench_step(const char* folder, const std::vector<int>& rows) {
  checkpoint::LoadOptions options;
  options.format = checkpoint::LoadFormat::kDummy;
  options.quantization = "modelopt";
  options.write_dummy = false;
  const auto model = std::make_shared<const model::Model>(checkpoint::load(folder, options));
  const int most = *std::max_element(rows.begin(), rows.end());
  model::MemoryPlan plan;
  plan.kv = model::make_kv_geometry(model->config, kPagePositions, model::KvDtype::kFp8E4m3);
  plan.kv.num_blocks = most * plan.kv.num_groups() * kBlocks;
  const auto runner = make_cuda_runner(model, plan, {most, 8192, kMaxLen, 0, 20});
  for (int n : rows) {
    const std::vector<double> ms = Steps(*runner, n, model->config.vocab_size).run();
    std::printf("%4d rows: %7.3f ms a step (median of %zu; %.3f to %.3f)\n", n, ms[ms.size() / 2], ms.size(),
                ms.front(), ms.back());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace outrider::cuda

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_step DIR [rows...]\n");
    return 1;
  }
  std::vector<int> rows;
  for (int i = 2; i < argc; ++i) rows.push_back(std::max(1, std::atoi(argv[i])));
  if (rows.empty()) rows = {1, 8, 64, 160};
  return outrider::cuda::bench_step(argv[1], rows);
}

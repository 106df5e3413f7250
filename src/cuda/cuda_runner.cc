#include "cuda/cuda_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <chrono>
#include <exception>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "cuda/llama4.h"
#include "cuda/sampler.h"
#include "cuda/step_block.h"
#include "cuda/step_graphs.h"
#include "cuda/step_maker.h"

namespace outrider::cuda {
namespace {

using runner::SequenceStep;
using runner::StepPlan;
using runner::StepResult;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kReportInterval{10};

// Rows of logits that are in memory at once: more sampled rows, or rows whose prompt logprobs are wanted,
// take turns.
constexpr int kMaxLogitRows = 512;

// A row whose logits are wanted: to sample, or to know the probability of the prompt token that follows.
struct LogitRow {
  int32_t sequence = 0;
  SampleRow sample;
};

Limits limits_of(const CudaOptions& options) {
  return {options.max_num_batched_tokens, std::min(options.max_num_batched_tokens, kMaxLogitRows),
          options.max_num_seqs, options.max_model_len};
}

SamplerShape sampler_shape(const model::LlamaConfig& config, const CudaOptions& options) {
  return {options.max_num_seqs,  limits_of(options).max_logit_rows,
          config.vocab_size,     options.valid_vocab,
          options.max_model_len, options.max_logprobs};
}

int64_t logit_bytes(const model::LlamaConfig& config, const CudaOptions& options) {
  return int64_t{4} * limits_of(options).max_logit_rows * config.vocab_size;
}

// The arrays of one step.
size_t block_bytes(const model::LlamaConfig& config, const CudaOptions& options) {
  const int groups = model::make_kv_geometry(config, kPagePositions, model::KvDtype::kBf16).num_groups();
  return StepMaker::block_bytes(limits_of(options), groups, sampler_shape(config, options).mask_words());
}

// Row counts that a graph's step can have: all of its logits are made at once.
std::vector<int> graph_rows(const CudaOptions& options) {
  const Limits limits = limits_of(options);
  const int most = std::min(limits.max_num_seqs, limits.max_logit_rows);
  std::vector<int> sizes;
  for (const int rows : options.graph_rows)
    if (rows >= 1 && rows <= most) sizes.push_back(rows);
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

// Few rows have many graphs (by the runs of their contexts), so there are some for each model and some for
// each size.
int64_t max_graphs(const CudaOptions& options) {
  const auto sizes = static_cast<int64_t>(graph_rows(options).size());
  return sizes == 0 ? 0 : 64 + 4 * sizes;
}

// What the driver takes for one: kernel parameters and launch descriptors.
int64_t graph_bytes(const model::LlamaConfig& config) {
  constexpr int64_t kLaunchesALayer = 10, kOtherLaunches = 4, kLaunchBytes = 2048;
  return kLaunchBytes * (kLaunchesALayer * config.num_layers + kOtherLaunches);
}

// One step between submit and collect.
struct Pending {
  // `device`: where every step's arrays go, one step after the other.
  explicit Pending(const DeviceBuffer& device)
      : arrays(device.bytes()), block(arrays.as<void>(), device.as<void>(), device.bytes()) {}

  uint64_t id = 0;
  PinnedBuffer arrays;
  StepBlock block;
  std::vector<LogitRow> rows;
  std::vector<std::unique_ptr<SampleResults>> results;  // one for each run of the sampler
  size_t runs = 0;
  std::string error;
  Event done;
};

class CudaRunner final : public runner::Runner {
 public:
  CudaRunner(std::shared_ptr<const model::Model> model, const model::MemoryPlan& plan,
             const CudaOptions& options)
      : kv_(plan.kv),
        experts_per_token_(model->config.num_experts_per_token),
        shape_(sampler_shape(model->config, options)),
        llama_(model, plan.kv, limits_of(options)),
        sampler_(shape_),
        logits_(static_cast<size_t>(logit_bytes(model->config, options))),
        arrays_(block_bytes(model->config, options)),
        maker_(step_shape(plan.kv, options)),
        graphs_(static_cast<size_t>(max_graphs(options)),
                [this](const StepLaunches& step, cudaStream_t stream) { launch(step, stream); }) {
    for (auto& pending : ring_) pending = std::make_unique<Pending>(arrays_);
    capture_graphs(graph_rows(options), options.max_model_len);
    if (log::enabled(log::Level::kDebug)) tally_.emplace(model->config.num_layers, model->config.num_experts);
  }

  ~CudaRunner() override {
    if (cudaStreamSynchronize(stream_) != cudaSuccess) return;
    try {
      report_experts();
    } catch (const DeviceError&) {  // it had nothing more to say
    }
  }

  void submit(StepPlan plan) override {
    Pending& step = *ring_[submitted_++ % ring_.size()];
    step.id = plan.id;
    step.error.clear();
    step.rows.clear();
    step.runs = 0;
    try {
      enqueue(plan, step);
      check(cudaEventRecord(step.done, stream_), "cudaEventRecord");
    } catch (const std::exception& e) {  // the engine must hear of it
      step.error = e.what();
    }
  }

  StepResult collect() override {
    Pending& step = *ring_[collected_++ % ring_.size()];
    StepResult result;
    result.id = step.id;
    if (step.error.empty()) {
      const cudaError_t status = cudaEventSynchronize(step.done);
      if (status != cudaSuccess)
        step.error = std::string("CUDA: a step failed: ") + cudaGetErrorString(status);
    }
    result.error = step.error;
    if (step.error.empty()) keep_results(step, result);
    if (tally_ && step.error.empty() && Clock::now() - last_report_ > kReportInterval) report_experts();
    return result;
  }

  const model::KvGeometry& kv() const override { return kv_; }
  GraphCounts graph_counts() const { return {graphs_.size(), graphs_.captures(), graphs_.launches()}; }

 private:
  StepShape step_shape(const model::KvGeometry& kv, const CudaOptions& options) const;
  void capture_graphs(const std::vector<int>& sizes, int64_t max_model_len);
  void enqueue(const StepPlan& plan, Pending& step);
  void launch(const StepLaunches& step, cudaStream_t stream);
  std::vector<int32_t> find_logit_rows(const StepPlan& plan, Pending& step) const;
  void sample(const int32_t* row_index, const uint32_t* masks, Pending& step);
  int next_run(std::span<const SampleRow> left) const;
  static void keep_results(Pending& step, StepResult& result);
  void report_experts();

  const model::KvGeometry kv_;
  const int experts_per_token_;
  const SamplerShape shape_;
  Stream stream_;
  Llama4 llama_;
  Sampler sampler_;
  DeviceBuffer logits_;                           // fp32 [max_logit_rows, vocab]
  DeviceBuffer arrays_;                           // of the step that the stream has come to
  std::array<std::unique_ptr<Pending>, 3> ring_;  // two steps in flight and the one being made
  uint64_t submitted_ = 0, collected_ = 0;
  StepMaker maker_;
  StepGraphs graphs_;
  std::vector<SampleRow> samples_;  // of the step being made

  std::optional<ExpertTally> tally_;  // with a debug log
  Clock::time_point last_report_ = Clock::now();
};

StepShape CudaRunner::step_shape(const model::KvGeometry& kv, const CudaOptions& options) const {
  const std::vector<int> sizes = graph_rows(options);
  return {kv,
          llama_.attention_shape(),
          llama_.attention_tiling(),
          llama_.num_sms(),
          options.max_model_len,
          sizes.empty() ? 0 : sizes.back(),
          sampler_.last_tokens()};
}

// Graphs of the steps that come first and most: contexts of each number of runs that attend_few() takes, and
// more.
void CudaRunner::capture_graphs(const std::vector<int>& sizes, int64_t max_model_len) {
  if (sizes.empty()) return;
  constexpr int kRuns = 9;
  const Clock::time_point begin = Clock::now();
  size_t free_before = 0, free_after = 0, total = 0;
  check(cudaMemGetInfo(&free_before, &total), "cudaMemGetInfo");
  StepBlock& block = ring_[0]->block;
  for (auto size = sizes.rbegin(); size != sizes.rend(); ++size) {  // the first ones are dropped first
    const int rows = *size;
    for (int runs = 1; runs <= kRuns && (runs - 1) * kKeyRun < max_model_len; ++runs) {
      const auto position = static_cast<int32_t>(std::min<int64_t>(runs * kKeyRun, max_model_len) - 1);
      StepPlan plan;
      plan.blocks_per_row = position / kPagePositions + 1;
      for (int i = 0; i < rows; ++i)
        plan.sequences.push_back(
            {.slot = i, .num_computed = position, .num_tokens = 1, .first_token = i, .sample = true});
      plan.tokens.resize(rows);
      plan.pages.resize(size_t(rows) * kv_.num_groups() * plan.blocks_per_row);
      block.clear();
      StepLaunches step;
      step.step = maker_.make(plan, block);
      step.logit_rows = block.put(std::vector<int32_t>(rows));
      step.num_logit_rows = rows;
      graphs_.capture(step, stream_);
    }
  }
  stream_.wait();
  check(cudaMemGetInfo(&free_after, &total), "cudaMemGetInfo");
  log::info(
      fmt::format("Graph capturing finished in {:.2f} secs, took {:.2f} GiB: {} graphs of up to {} rows",
                  std::chrono::duration<double>(Clock::now() - begin).count(),
                  static_cast<double>(free_before - std::min(free_after, free_before)) / (1 << 30),
                  graphs_.size(), sizes.back()));
}

void CudaRunner::enqueue(const StepPlan& plan, Pending& step) {
  assert(plan.masks.empty() || plan.mask_words == shape_.mask_words());
  for (const runner::SlotBinding& binding : plan.bindings) sampler_.bind(binding, stream_);
  sampler_.commit_bindings(stream_);
  step.block.clear();
  StepLaunches launches;
  launches.step = maker_.make(plan, step.block);
  launches.logit_rows = step.block.put(find_logit_rows(plan, step));
  const uint32_t* masks = step.block.put(plan.masks);
  step.block.copy(stream_);
  samples_.clear();
  for (const LogitRow& row : step.rows) samples_.push_back(row.sample);
  launches.num_logit_rows = next_run(samples_);
  // The logits of a second run need what forward() leaves on the host.
  launches.step.recurs &= launches.num_logit_rows == static_cast<int>(samples_.size());
  graphs_.run(launches, stream_);
  sample(launches.logit_rows, masks, step);
  if (tally_)
    tally_->add(llama_.expert_choices(), launches.step.batch.num_rows * experts_per_token_, stream_);
}

// What a graph holds.
void CudaRunner::launch(const StepLaunches& step, cudaStream_t stream) {
  llama_.forward(step.step, stream);
  if (step.num_logit_rows > 0)
    llama_.logits(step.logit_rows, step.num_logit_rows, logits_.as<float>(), stream);
}

std::vector<int32_t> CudaRunner::find_logit_rows(const StepPlan& plan, Pending& step) const {
  std::vector<int32_t> index;
  for (int i = 0; i < static_cast<int>(plan.sequences.size()); ++i) {
    const SequenceStep& s = plan.sequences[i];
    for (int t = s.prompt_logprobs ? 0 : s.num_tokens - 1; t < s.num_tokens; ++t) {
      const int row = s.first_token + t;
      const bool last = t + 1 == s.num_tokens;
      const int32_t next = last ? s.next_prompt_token : plan.tokens[row + 1];
      if (s.prompt_logprobs && next != runner::kTokenFromDevice) {
        step.rows.push_back({i, {s.slot, false, 0, next}});
        index.push_back(row);
      }
      if (last && s.sample) {
        step.rows.push_back({i, {s.slot, true, s.output_index, 0, s.mask}});
        index.push_back(row);
      }
    }
  }
  return index;
}

void CudaRunner::report_experts() {
  last_report_ = Clock::now();
  if (!tally_ || tally_->steps() == 0) return;
  const int64_t steps = tally_->steps();
  const std::string line =
      ExpertTally::describe(tally_->take(stream_), llama_.expert_choices().experts, steps);
  if (!line.empty()) log::debug(line);
}

// Rows of samples_ that the sampler takes next.
int CudaRunner::next_run(std::span<const SampleRow> left) const {
  return left.empty() ? 0 : sampler_.fitting_rows(left.first(std::min<size_t>(left.size(), shape_.max_rows)));
}

// row_index, of step.rows, and masks: device. The first run's logits are there.
void CudaRunner::sample(const int32_t* row_index, const uint32_t* masks, Pending& step) {
  std::span<const SampleRow> left(samples_);
  while (!left.empty()) {
    const int count = next_run(left);
    if (step.runs > 0) llama_.logits(row_index, count, logits_.as<float>(), stream_);
    if (step.runs == step.results.size()) step.results.push_back(std::make_unique<SampleResults>(shape_));
    sampler_.run(logits_.as<float>(), left.first(count), masks, *step.results[step.runs++], stream_);
    row_index += count;
    left = left.subspan(count);
  }
}

void CudaRunner::keep_results(Pending& step, StepResult& result) {
  size_t at = 0;
  for (size_t run = 0; run < step.runs; ++run) {
    const SampleResults& results = *step.results[run];
    for (int i = 0; i < results.rows(); ++i, ++at) {
      const LogitRow& row = step.rows[at];
      if (row.sample.sample) {
        runner::SampledToken token{row.sequence, results.token(i), results.has_logprobs(i), {}};
        if (token.has_logprobs) token.logprobs = results.logprobs(i);
        result.sampled.push_back(std::move(token));
        continue;
      }
      if (result.prompt.empty() || result.prompt.back().sequence != row.sequence)
        result.prompt.push_back({row.sequence, {}});
      result.prompt.back().positions.push_back(results.logprobs(i));
    }
  }
}

// Memory that is clocked at f hands over a word at both edges.
double memory_bandwidth(int device) {
  int kilohertz = 0, bits = 0;
  if (cudaDeviceGetAttribute(&kilohertz, cudaDevAttrMemoryClockRate, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bits, cudaDevAttrGlobalMemoryBusWidth, device) != cudaSuccess) {
    return 0;
  }
  return 2e3 * kilohertz * bits / 8;
}

}  // namespace

GraphCounts graph_counts(const runner::Runner& runner) {
  return dynamic_cast<const CudaRunner&>(runner).graph_counts();
}

bool has_device() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

DeviceInfo find_device() {
  int driver = 0;  // of CUDA, 1000 * major + 10 * minor; 0: there is none
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    throw StartupError(
        "--device cuda: there is no NVIDIA driver (libcuda.so.1) here; install driver 580 or newer, in a "
        "container start it with --gpus all, or use --device cpu");
  }
  if (driver < CUDART_VERSION / 1000 * 1000) {
    throw StartupError("--device cuda: the NVIDIA driver is for CUDA " + std::to_string(driver / 1000) + "." +
                       std::to_string(driver % 1000 / 10) + " and older; this program needs " +
                       std::to_string(CUDART_VERSION / 1000) +
                       ".0; install driver 580 or newer, or use --device cpu");
  }
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    throw StartupError(std::string("--device cuda: no NVIDIA GPU can be used (") +
                       cudaGetErrorString(status) +
                       "); check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu");
  }
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  if (properties.major != 9) {
    throw StartupError("--device cuda: " + std::string(properties.name) + " has compute capability " +
                       std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                       "; the kernels are built for 9.0 (Hopper); use --device cpu");
  }
  size_t free_bytes = 0, total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "cudaMemGetInfo");
  return {properties.name, static_cast<int64_t>(total_bytes), static_cast<int64_t>(free_bytes),
          memory_bandwidth(0)};
}

std::vector<model::PlanRow> device_memory(const model::Model& model, const CudaOptions& options,
                                          model::KvDtype kv_dtype) {
  Llama4::check_shapes(model.config, model::make_kv_geometry(model.config, kPagePositions, kv_dtype));
  std::vector<model::PlanRow> rows = {{"weights", device_weight_bytes(model)}};
  for (model::PlanRow& row : Llama4::working_memory(model.config, limits_of(options), kv_dtype))
    rows.push_back(row);
  rows.push_back({"logits", logit_bytes(model.config, options)});
  int64_t sampler = 0;
  for (const model::PlanRow& row : Sampler::memory(sampler_shape(model.config, options)))
    sampler += row.bytes;
  rows.push_back({"sampler", sampler});
  rows.push_back({"step plans", static_cast<int64_t>(block_bytes(model.config, options))});
  if (const int64_t graphs = max_graphs(options); graphs > 0)
    rows.push_back({"CUDA graphs", graphs * graph_bytes(model.config)});
  return rows;
}

std::unique_ptr<runner::Runner> make_cuda_runner(std::shared_ptr<const model::Model> model,
                                                 const model::MemoryPlan& plan, const CudaOptions& options) {
  try {
    find_device();  // says what is missing better than the first allocation would
    return std::make_unique<CudaRunner>(std::move(model), plan, options);
  } catch (const DeviceError& e) {
    throw StartupError(std::string(e.what()) +
                       "; decrease --max-num-seqs, --max-num-batched-tokens or "
                       "--gpu-memory-utilization");
  }
}

}  // namespace outrider::cuda

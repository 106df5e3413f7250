#include "cuda/cuda_runner.h"

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

// The most that the arrays of one step need.
size_t block_bytes(const model::LlamaConfig& config, const CudaOptions& options) {
  const Limits limits = limits_of(options);
  const int64_t groups = model::make_kv_geometry(config, kPagePositions, model::KvDtype::kBf16).num_groups();
  const int64_t blocks = (options.max_model_len + kPagePositions - 1) / kPagePositions;
  const int64_t partials = max_attention_partials(limits.max_num_seqs, limits.max_model_len);
  const int64_t tiles = max_attention_tiles(limits.max_rows, static_cast<int>(partials));
  const int64_t rows = limits.max_rows;
  const int64_t bytes = 4 * rows * sizeof(int32_t) + limits.max_num_seqs * sizeof(BatchSequence) +
                        limits.max_num_seqs * groups * (blocks + 1) * sizeof(int32_t) +
                        2 * (tiles * sizeof(AttentionTile) + partials * sizeof(AttentionMerge)) +
                        limits.max_num_seqs * sampler_shape(config, options).mask_words() * sizeof(uint32_t);
  constexpr int64_t kArrays = 64;  // each aligned
  return static_cast<size_t>(bytes) + kArrays * StepBlock::kAlignment;
}

// One step between submit and collect.
struct Pending {
  Pending(const model::LlamaConfig& config, const CudaOptions& options)
      : block(block_bytes(config, options)) {}

  uint64_t id = 0;
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
        device_(find_device()),
        llama_(model, plan.kv, limits_of(options)),
        sampler_(shape_),
        logits_(static_cast<size_t>(logit_bytes(model->config, options))) {
    for (auto& pending : ring_) pending = std::make_unique<Pending>(model->config, options);
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
  const char* device_name() const override { return device_.name.c_str(); }

 private:
  void enqueue(const StepPlan& plan, Pending& step);
  Step make_step(const StepPlan& plan, StepBlock& block);
  AttentionLists make_lists(int chunk_size, StepBlock& block);
  std::vector<int32_t> find_logit_rows(const StepPlan& plan, Pending& step) const;
  void sample(const int32_t* row_index, const uint32_t* masks, Pending& step);
  static void keep_results(Pending& step, StepResult& result);
  void report_experts();

  const model::KvGeometry kv_;
  const int experts_per_token_;
  const SamplerShape shape_;
  const DeviceInfo device_;
  Stream stream_;
  Llama4 llama_;
  Sampler sampler_;
  DeviceBuffer logits_;                           // fp32 [max_logit_rows, vocab]
  std::array<std::unique_ptr<Pending>, 3> ring_;  // two steps in flight and the one being made
  uint64_t submitted_ = 0, collected_ = 0;

  // Of the step being made.
  std::vector<BatchSequence> sequences_;
  std::vector<int32_t> positions_, sequence_of_row_;
  AttentionWork work_;

  std::optional<ExpertTally> tally_;  // with a debug log
  Clock::time_point last_report_ = Clock::now();
};

void CudaRunner::enqueue(const StepPlan& plan, Pending& step) {
  assert(plan.masks.empty() || plan.mask_words == shape_.mask_words());
  for (const runner::SlotBinding& binding : plan.bindings) sampler_.bind(binding, stream_);
  sampler_.commit_bindings(stream_);
  step.block.clear();
  const Step input = make_step(plan, step.block);
  const std::vector<int32_t> rows = find_logit_rows(plan, step);
  const int32_t* row_index = step.block.put(rows);
  const uint32_t* masks = step.block.put(plan.masks);
  step.block.copy(stream_);
  llama_.forward(input, stream_);
  if (tally_) tally_->add(llama_.expert_choices(), input.batch.num_rows * experts_per_token_, stream_);
  sample(row_index, masks, step);
}

Step CudaRunner::make_step(const StepPlan& plan, StepBlock& block) {
  const int rows = static_cast<int>(plan.tokens.size());
  sequences_.clear();
  positions_.resize(rows);
  sequence_of_row_.resize(rows);
  for (const SequenceStep& s : plan.sequences) {
    for (int i = 0; i < s.num_tokens; ++i) {
      positions_[s.first_token + i] = s.num_computed + i;
      sequence_of_row_[s.first_token + i] = static_cast<int32_t>(sequences_.size());
    }
    sequences_.push_back({s.first_token, s.num_tokens, s.num_computed, s.slot});
  }
  Step step;
  Batch& batch = step.batch;
  batch.num_rows = rows;
  batch.num_sequences = static_cast<int>(sequences_.size());
  batch.tokens = block.put(plan.tokens);
  batch.positions = block.put(positions_);
  batch.sequence_of_row = block.put(sequence_of_row_);
  batch.sequences = block.put(sequences_);
  batch.pages = block.put(plan.pages);
  batch.num_groups = kv_.num_groups();
  batch.blocks_per_row = plan.blocks_per_row;
  step.row_range = block.put(std::vector<int32_t>{0, rows});
  step.full = make_lists(0, block);
  step.chunked = make_lists(kv_.chunk_size, block);
  step.last_token = sampler_.last_tokens();
  return step;
}

AttentionLists CudaRunner::make_lists(int chunk_size, StepBlock& block) {
  plan_attention(sequences_, chunk_size, llama_.attention_tiling(), work_);
  AttentionLists lists;
  lists.narrow = block.put(work_.narrow);
  lists.wide = block.put(work_.wide);
  lists.merges = block.put(work_.merges);
  lists.counts = block.put(std::vector<int32_t>{static_cast<int32_t>(work_.narrow.size()),
                                                static_cast<int32_t>(work_.wide.size()),
                                                static_cast<int32_t>(work_.merges.size())});
  lists.has_narrow = !work_.narrow.empty();
  lists.has_wide = !work_.wide.empty();
  lists.num_merges = static_cast<int>(work_.merges.size());
  lists.chunk_size = chunk_size;
  lists.decode_runs = work_.decode_runs;
  return lists;
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

// row_index, of step.rows, and masks: device.
void CudaRunner::sample(const int32_t* row_index, const uint32_t* masks, Pending& step) {
  std::vector<SampleRow> samples;
  for (const LogitRow& row : step.rows) samples.push_back(row.sample);
  std::span<const SampleRow> left(samples);
  while (!left.empty()) {
    const int count = sampler_.fitting_rows(left.first(std::min<size_t>(left.size(), shape_.max_rows)));
    llama_.logits(row_index, count, logits_.as<float>(), stream_);
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
  rows.push_back({"step plans", 3 * static_cast<int64_t>(block_bytes(model.config, options))});
  return rows;
}

std::unique_ptr<runner::Runner> make_cuda_runner(std::shared_ptr<const model::Model> model,
                                                 const model::MemoryPlan& plan, const CudaOptions& options) {
  try {
    return std::make_unique<CudaRunner>(std::move(model), plan, options);
  } catch (const DeviceError& e) {
    throw StartupError(std::string(e.what()) +
                       "; decrease --max-num-seqs, --max-num-batched-tokens or "
                       "--gpu-memory-utilization");
  }
}

}  // namespace outrider::cuda

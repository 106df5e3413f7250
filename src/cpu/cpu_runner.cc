#include "cpu/cpu_runner.h"

#include <algorithm>
#include <cassert>
#include <condition_variable>
#include <deque>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>

#include "sampling/sampler.h"

namespace outrider::cpu {
namespace {

using runner::SequenceStep;
using runner::StepPlan;
using runner::StepResult;

// What outlives a step in a sequence's row of state.
struct Slot {
  std::shared_ptr<const sampling::SamplingParams> params;
  sampling::TokenHistory history;
  int32_t last_token = 0;
};

// A row whose logits are wanted: to sample, or to know the probability of the prompt token that follows.
struct LogitRow {
  int32_t row = 0;
  int32_t sequence = 0;
  bool sample = false;
  int32_t next_prompt_token = 0;
};

// Threads: the engine's calls submit and collect, worker_ does the rest. queue_mutex_ guards the two queues.
class CpuRunner final : public runner::Runner {
 public:
  CpuRunner(std::shared_ptr<const model::Model> model, const model::MemoryPlan& plan,
            const CpuOptions& options);
  ~CpuRunner() override;

  void submit(StepPlan plan) override;
  StepResult collect() override;
  const model::KvGeometry& kv() const override { return kv_; }

 private:
  void work();
  StepResult execute(const StepPlan& plan);
  void bind(const runner::SlotBinding& binding);
  void make_batch(const StepPlan& plan);
  void find_logit_rows(const StepPlan& plan);
  void compute_logits(const StepPlan& plan, StepResult& result);
  void finish_row(const StepPlan& plan, const LogitRow& row, std::span<float> logits,
                  sampling::Sampler& sampler, sampling::Sample& out);
  void keep_results(const StepPlan& plan, std::span<const LogitRow> rows, StepResult& result);

  const model::LlamaConfig config_;
  const model::KvGeometry kv_;
  const int valid_vocab_;
  ThreadPool pool_;
  Llama4 model_;
  std::vector<Slot> slots_;
  std::vector<sampling::Sampler> samplers_;  // [threads]
  AlignedBuffer logits_;                     // [max_logit_rows, vocab]
  Batch batch_;
  std::vector<LogitRow> logit_rows_;
  std::vector<int32_t> row_indices_;
  std::vector<sampling::Sample> samples_;  // of the rows being computed
  bool unpacked_weights_ = true;           // perhaps; the worker's own

  std::mutex queue_mutex_;
  std::condition_variable submitted_, finished_;
  std::deque<StepPlan> plans_;
  std::deque<StepResult> results_;
  bool stop_ = false;
  std::thread worker_;  // last: it uses all of the above
};

CpuRunner::CpuRunner(std::shared_ptr<const model::Model> model, const model::MemoryPlan& plan,
                     const CpuOptions& options)
    : config_(model->config),
      kv_(plan.kv),
      valid_vocab_(options.valid_vocab > 0 ? std::min(options.valid_vocab, config_.vocab_size)
                                           : config_.vocab_size),
      pool_(options.num_threads > 0 ? options.num_threads : default_num_threads()),
      model_(std::move(model), plan.kv, options.max_num_batched_tokens, options.activation_quantization,
             pool_),
      slots_(options.max_num_seqs),
      samplers_(pool_.size()),
      logits_(sizeof(float) * config_.vocab_size * Llama4::max_logit_rows()),
      samples_(Llama4::max_logit_rows()),
      worker_([this] { work(); }) {}

CpuRunner::~CpuRunner() {
  {
    std::lock_guard lock(queue_mutex_);
    stop_ = true;
  }
  submitted_.notify_one();
  worker_.join();
}

void CpuRunner::submit(StepPlan plan) {
  {
    std::lock_guard lock(queue_mutex_);
    plans_.push_back(std::move(plan));
  }
  submitted_.notify_one();
}

StepResult CpuRunner::collect() {
  std::unique_lock lock(queue_mutex_);
  finished_.wait(lock, [this] { return !results_.empty(); });
  StepResult result = std::move(results_.front());
  results_.pop_front();
  return result;
}

void CpuRunner::work() {
  for (;;) {
    StepPlan plan;
    {
      std::unique_lock lock(queue_mutex_);
      while (!stop_ && plans_.empty() && unpacked_weights_) {
        lock.unlock();
        unpacked_weights_ = model_.pack_next();
        lock.lock();
      }
      submitted_.wait(lock, [this] { return stop_ || !plans_.empty(); });
      if (stop_) return;
      plan = std::move(plans_.front());
      plans_.pop_front();
    }
    StepResult result;
    try {
      result = execute(plan);
    } catch (const std::exception& e) {  // out of memory; the engine must hear of it
      result.error = e.what();
    }
    result.id = plan.id;
    {
      std::lock_guard lock(queue_mutex_);
      results_.push_back(std::move(result));
    }
    finished_.notify_one();
  }
}

StepResult CpuRunner::execute(const StepPlan& plan) {
  StepResult result;
  assert(plan.masks.empty() || plan.mask_words == (config_.vocab_size + 31) / 32);
  for (const runner::SlotBinding& binding : plan.bindings) bind(binding);
  make_batch(plan);
  model_.forward(batch_);
  find_logit_rows(plan);
  compute_logits(plan, result);
  return result;
}

void CpuRunner::bind(const runner::SlotBinding& binding) {
  Slot& slot = slots_[binding.slot];
  slot.params = binding.params;
  slot.history = sampling::TokenHistory(binding.prompt, binding.output);
  slot.last_token = binding.output.empty() ? 0 : binding.output.back();
}

void CpuRunner::make_batch(const StepPlan& plan) {
  batch_.tokens = plan.tokens;
  batch_.positions.resize(plan.tokens.size());
  batch_.sequences.clear();
  batch_.pages = plan.pages.data();
  batch_.blocks_per_row = plan.blocks_per_row;
  for (const SequenceStep& s : plan.sequences) {
    batch_.sequences.push_back({s.first_token, s.num_tokens, s.num_computed});
    for (int i = 0; i < s.num_tokens; ++i) {
      const int row = s.first_token + i;
      batch_.positions[row] = s.num_computed + i;
      if (batch_.tokens[row] == runner::kTokenFromDevice) batch_.tokens[row] = slots_[s.slot].last_token;
      // Ids are checked where requests enter; a wrong one must still not read outside the table.
      batch_.tokens[row] = std::clamp(batch_.tokens[row], 0, config_.vocab_size - 1);
    }
  }
}

void CpuRunner::find_logit_rows(const StepPlan& plan) {
  logit_rows_.clear();
  for (int i = 0; i < static_cast<int>(plan.sequences.size()); ++i) {
    const SequenceStep& s = plan.sequences[i];
    for (int t = 0; t < s.num_tokens; ++t) {
      const int row = s.first_token + t;
      const bool last = t + 1 == s.num_tokens;
      const int32_t next = last ? s.next_prompt_token : plan.tokens[row + 1];
      if (s.prompt_logprobs && next != runner::kTokenFromDevice) logit_rows_.push_back({row, i, false, next});
      if (last && s.sample) logit_rows_.push_back({row, i, true, 0});
    }
  }
}

void CpuRunner::compute_logits(const StepPlan& plan, StepResult& result) {
  const int vocab = config_.vocab_size;
  const std::span<const LogitRow> all(logit_rows_);
  for (size_t begin = 0; begin < all.size(); begin += Llama4::max_logit_rows()) {
    const auto rows = all.subspan(begin, std::min<size_t>(Llama4::max_logit_rows(), all.size() - begin));
    row_indices_.clear();
    for (const LogitRow& row : rows) row_indices_.push_back(row.row);
    model_.logits(row_indices_, logits_.as<float>());
    pool_.run(static_cast<int64_t>(rows.size()), [&](int64_t i, int thread) {
      finish_row(plan, rows[i], {logits_.as<float>() + i * vocab, static_cast<size_t>(vocab)},
                 samplers_[thread], samples_[i]);
    });
    keep_results(plan, rows, result);
  }
}

// Any thread of the pool; reads slots, writes `out` only.
void CpuRunner::finish_row(const StepPlan& plan, const LogitRow& row, std::span<float> logits,
                           sampling::Sampler& sampler, sampling::Sample& out) {
  const SequenceStep& s = plan.sequences[row.sequence];
  const Slot& slot = slots_[s.slot];
  std::fill(logits.begin() + valid_vocab_, logits.end(), -std::numeric_limits<float>::infinity());
  if (row.sample) {
    std::span<const uint32_t> mask;
    if (s.mask >= 0) {
      mask = std::span(plan.masks).subspan(size_t(s.mask) * plan.mask_words, size_t(plan.mask_words));
    }
    out = sampler.sample(logits, *slot.params, slot.history, s.output_index, mask);
  } else {
    out.logprobs =
        sampling::logprobs_of(logits, row.next_prompt_token, slot.params->prompt_logprobs.value_or(0),
                              slot.params->logprobs_are_logits);
  }
}

void CpuRunner::keep_results(const StepPlan& plan, std::span<const LogitRow> rows, StepResult& result) {
  for (size_t i = 0; i < rows.size(); ++i) {
    sampling::Sample& sample = samples_[i];
    if (rows[i].sample) {
      Slot& slot = slots_[plan.sequences[rows[i].sequence].slot];
      slot.last_token = sample.token;
      slot.history.append(sample.token);
      runner::SampledToken token{rows[i].sequence, sample.token, sample.logprobs.has_value(), {}};
      if (sample.logprobs) token.logprobs = std::move(*sample.logprobs);
      result.sampled.push_back(std::move(token));
    } else {
      if (result.prompt.empty() || result.prompt.back().sequence != rows[i].sequence) {
        result.prompt.push_back({rows[i].sequence, {}});
      }
      result.prompt.back().positions.push_back(std::move(*sample.logprobs));
    }
  }
}

}  // namespace

std::unique_ptr<runner::Runner> make_cpu_runner(std::shared_ptr<const model::Model> model,
                                                const model::MemoryPlan& plan, const CpuOptions& options) {
  return std::make_unique<CpuRunner>(std::move(model), plan, options);
}

}  // namespace outrider::cpu

#include "cuda/sampler.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/error.h"
#include "cuda/sampler_kernels.h"
#include "sampling/philox.h"

namespace outrider::cuda {
namespace {

// Slices of the row kernel are whole, also where the vocabulary ends before; rows start at 16 bytes.
int64_t count_stride(const SamplerShape& shape) { return (shape.vocab + 15) / 16 * 16; }
int64_t max_overflows(const SamplerShape& shape) { return shape.max_model_len / kCountEscape + 1; }

// The longest record: head, lists, mask, a count of every id, overflows, recent outputs.
int64_t record_words(const SamplerShape& shape) {
  const int64_t words =
      kSlotListWords + shape.mask_words() + shape.vocab + 2 * max_overflows(shape) + kRecentTokens;
  return static_cast<int64_t>(sizeof(BindRecord)) / 8 + words / 2 + 1;
}

enum Part {
  kParams,
  kLists,
  kLastTokens,
  kNumOutputs,
  kRecent,
  kAllowed,
  kCounts,
  kOverflows,
  kNumOverflows
};

}  // namespace

std::vector<model::PlanRow> Sampler::memory(const SamplerShape& shape) {
  const int64_t slots = shape.max_slots;
  return {{"sampler: parameters", slots * static_cast<int64_t>(sizeof(SlotParams))},
          {"sampler: biases, stop ids, bad words", slots * kSlotListWords * 4},
          {"sampler: last tokens", slots * 4},
          {"sampler: numbers of outputs", slots * 4},
          {"sampler: recent outputs", slots * kRecentTokens * 4},
          {"sampler: allowed ids", slots * shape.mask_words() * 4},
          {"sampler: counts for penalties", slots * count_stride(shape)},
          {"sampler: counts above 126",
           slots * max_overflows(shape) * static_cast<int64_t>(sizeof(CountOverflow))},
          {"sampler: numbers of these", slots * 4}};
}

SampleResults::SampleResults(const SamplerShape& shape)
    : rows_(sizeof(RowResult) * shape.max_rows), top_(sizeof(TopEntry) * top_capacity(shape)) {
  wanted_.reserve(shape.max_rows);
}

sampling::PositionLogprobs SampleResults::logprobs(int row) const {
  const Wanted& wanted = wanted_[row];
  return make_logprobs(rows_.as<RowResult>()[row],
                       {top_.as<TopEntry>() + wanted.offset, static_cast<size_t>(std::max(wanted.top, 0))},
                       wanted.as_logits);
}

Sampler::Sampler(const SamplerShape& shape) : shape_(shape), slots_(shape.max_slots) {
  if (row_slice(shape.vocab) > kMaxRowSlice) {
    throw StartupError("the CUDA sampler takes vocabularies of up to " +
                       std::to_string(kMaxRowSlice * kRowBlocks) + " tokens; the model has " +
                       std::to_string(shape.vocab));
  }
  const std::vector<model::PlanRow> plan = memory(shape);
  auto allocate = [&plan](Part part, auto*& pointer) {
    DeviceBuffer buffer(plan[part].bytes);
    pointer = buffer.as<std::remove_reference_t<decltype(*pointer)>>();
    return buffer;
  };
  params_ = allocate(kParams, state_.params);
  lists_ = allocate(kLists, state_.lists);
  last_tokens_ = allocate(kLastTokens, state_.last_tokens);
  num_outputs_ = allocate(kNumOutputs, state_.num_outputs);
  recent_ = allocate(kRecent, state_.recent);
  allowed_ = allocate(kAllowed, state_.allowed);
  counts_ = allocate(kCounts, state_.counts);
  overflows_ = allocate(kOverflows, state_.overflows);
  num_overflows_ = allocate(kNumOverflows, state_.num_overflows);
  state_.mask_words = shape.mask_words();
  state_.count_stride = static_cast<int32_t>(count_stride(shape));
  state_.max_overflows = static_cast<int32_t>(max_overflows(shape));
  for (Stage& stage : stages_) {
    // Most steps' bindings go in one launch.
    stage.records = PinnedBuffer(8 * record_words(shape) + (size_t{1} << 20));
    stage.offsets = PinnedBuffer(sizeof(uint32_t) * shape.max_slots);
  }
  args_.state = state_;
  args_.vocab = shape.vocab;
  args_.valid_vocab = shape.ids();
  args_.slice = row_slice(shape.vocab);
  prepare_sample_rows(shape.vocab);
}

// The device may still read the stages.
Sampler::~Sampler() { cudaDeviceSynchronize(); }

void Sampler::next_stage(cudaStream_t stream) {
  check(cudaEventRecord(stage().done, stream), "cudaEventRecord");
  stage().in_flight = true;
  current_ = (current_ + 1) % static_cast<int>(stages_.size());
  Stage& next = stage();
  if (next.in_flight) check(cudaEventSynchronize(next.done), "cudaEventSynchronize");
  next.in_flight = false;
  next.used_words = 0;
  next.count = next.committed = 0;
  next.retired.clear();
}

void Sampler::bind(const runner::SlotBinding& binding, cudaStream_t stream) {
  Slot& slot = slots_[binding.slot];
  std::vector<int32_t> long_lists;
  make_bind_record(binding, shape_, record_, long_lists);
  auto* head = reinterpret_cast<BindRecord*>(record_.data());
  if (slot.pending) commit_bindings(stream);  // two records of a slot would race in one launch
  const bool full = 8 * (stage().used_words + record_.size()) > stage().records.bytes() ||
                    stage().count == shape_.max_slots;
  if (full) {
    commit_bindings(stream);
    next_stage(stream);
  }
  if (slot.long_lists) stage().retired.push_back(std::move(slot.long_lists));
  if (long_lists.empty()) {
    head->params.lists = state_.lists + int64_t{binding.slot} * kSlotListWords;
  } else {
    slot.long_lists = std::make_shared<PinnedBuffer>(long_lists.size() * sizeof(int32_t));
    std::memcpy(slot.long_lists->as<int32_t>(), long_lists.data(), slot.long_lists->bytes());
    head->params.lists = slot.long_lists->as<int32_t>();
  }
  slot.params = binding.params;
  slot.pending = true;

  Stage& to = stage();
  std::memcpy(to.records.as<uint64_t>() + to.used_words, record_.data(), 8 * record_.size());
  to.offsets.as<uint32_t>()[to.count++] = static_cast<uint32_t>(to.used_words);
  to.used_words += record_.size();
}

void Sampler::commit_bindings(cudaStream_t stream) {
  Stage& from = stage();
  const int fresh = from.count - from.committed;
  if (fresh == 0) return;
  bind_slots({from.records.as<uint64_t>(), from.offsets.as<uint32_t>() + from.committed, state_}, fresh,
             stream);
  for (int i = from.committed; i < from.count; ++i) {
    const uint64_t* record = from.records.as<uint64_t>() + from.offsets.as<uint32_t>()[i];
    slots_[reinterpret_cast<const BindRecord*>(record)->slot].pending = false;
  }
  from.committed = from.count;
}

int Sampler::wanted_top(const SampleRow& row) const {
  const sampling::SamplingParams& params = *slots_[row.slot].params;
  const int top = row.sample ? params.logprobs.value_or(-1) : params.prompt_logprobs.value_or(0);
  return std::min({top, shape_.vocab, static_cast<int>(top_capacity(shape_))});
}

int Sampler::fitting_rows(std::span<const SampleRow> rows) const {
  int64_t room = top_capacity(shape_);
  int fit = 0;
  for (const SampleRow& row : rows) {
    room -= std::max(wanted_top(row), 0);
    if (fit == shape_.max_rows || (room < 0 && fit > 0)) break;
    ++fit;
  }
  return fit;
}

RowTask Sampler::make_task(const SampleRow& row, SampleResults& results, int& top_used) const {
  const sampling::SamplingParams& params = *slots_[row.slot].params;
  RowTask task;
  task.slot = row.slot;
  task.sample = row.sample;
  if (row.sample) {
    task.uniform = sampling::uniform(params.seed, static_cast<uint64_t>(row.output_index));
    task.mask_stop_ids = row.output_index < params.min_tokens;
    task.mask = row.mask;
  } else {
    task.prompt_token = row.prompt_token;
  }
  task.top = wanted_top(row);
  task.top_offset = top_used;
  results.wanted_.push_back({task.top, task.top_offset, params.logprobs_are_logits});
  top_used += std::max(task.top, 0);
  return task;
}

void Sampler::run(const float* logits, std::span<const SampleRow> rows, const uint32_t* masks,
                  SampleResults& results, cudaStream_t stream) {
  assert(static_cast<int>(rows.size()) <= fitting_rows(rows));
  commit_bindings(stream);
  results.wanted_.clear();
  int top_used = 0;
  args_.top = results.top_.as<TopEntry>();
  args_.masks = masks;
  for (size_t begin = 0; begin < rows.size(); begin += kMaxRowsPerLaunch) {
    const auto part = rows.subspan(begin, std::min<size_t>(kMaxRowsPerLaunch, rows.size() - begin));
    for (size_t i = 0; i < part.size(); ++i) args_.rows[i] = make_task(part[i], results, top_used);
    args_.logits = logits + begin * shape_.vocab;
    args_.results = results.rows_.as<RowResult>() + begin;
    sample_rows(args_, static_cast<int>(part.size()), stream);
  }
  if (stage().count > 0 || !stage().retired.empty()) next_stage(stream);
}

}  // namespace outrider::cuda

// Bindings as the device wants them, results as the engine wants them: the sampler's arithmetic on the host.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_map>

#include "cuda/sampler.h"
#include "sampling/sampler.h"

namespace outrider::cuda {
namespace {

uint32_t bits_of(float x) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

bool has_penalties(const sampling::SamplingParams& p) {
  return static_cast<float>(p.repetition_penalty) != 1.0f ||
         static_cast<float>(p.frequency_penalty) != 0.0f || static_cast<float>(p.presence_penalty) != 0.0f;
}

SlotParams make_params(const sampling::SamplingParams& p, const SamplerShape& shape) {
  SlotParams out;
  out.temperature = p.temperature;
  out.top_p = p.top_p;
  out.has_min_p = p.min_p > 0.0;
  out.log_min_p = p.min_p > 0.0 ? std::log(p.min_p) : 0.0;
  out.repetition = static_cast<float>(p.repetition_penalty);
  out.frequency = static_cast<float>(p.frequency_penalty);
  out.presence = static_cast<float>(p.presence_penalty);
  out.top_k = p.top_k > 0 && p.top_k < shape.vocab ? static_cast<int32_t>(p.top_k) : 0;
  if (p.temperature < sampling::kGreedyTemperature) out.flags |= kGreedy;
  if (has_penalties(p)) out.flags |= kPenalties;
  if (!p.allowed_token_ids.empty()) out.flags |= kAllowedOnly;
  if (p.processed_logprobs) out.flags |= kProcessedLogprobs;
  return out;
}

// Biases, stop ids, bad words in SlotParams' order; ids outside the vocabulary left out, none twice.
std::vector<int32_t> make_lists(const sampling::SamplingParams& p, int vocab, SlotParams& params) {
  auto known = [vocab](int32_t id) { return id >= 0 && id < vocab; };
  std::vector<std::pair<int32_t, float>> biases;
  std::unordered_map<int32_t, size_t> place;
  for (const auto& [id, bias] : p.logit_bias) {
    if (!known(id)) continue;
    const auto [at, is_new] = place.try_emplace(id, biases.size());
    if (is_new) {
      biases.emplace_back(id, bias);
    } else {
      biases[at->second].second += bias;
    }
  }
  std::vector<int32_t> stop_ids;
  if (p.min_tokens > 0) {
    for (const auto* ids : {&p.eos_token_ids, &p.stop_token_ids}) {
      std::copy_if(ids->begin(), ids->end(), std::back_inserter(stop_ids), known);
    }
    std::sort(stop_ids.begin(), stop_ids.end());
    stop_ids.erase(std::unique(stop_ids.begin(), stop_ids.end()), stop_ids.end());
  }
  std::vector<int32_t> starts = {0}, words;
  for (const std::vector<int32_t>& word : p.bad_words) {
    if (word.empty() || !known(word.back())) continue;
    words.insert(words.end(), word.begin(), word.end());
    starts.push_back(static_cast<int32_t>(words.size()));
  }
  params.num_biases = static_cast<int32_t>(biases.size());
  params.num_stop_ids = static_cast<int32_t>(stop_ids.size());
  params.num_bad_words = static_cast<int32_t>(starts.size()) - 1;
  std::vector<int32_t> lists;
  for (const auto& entry : biases) lists.push_back(entry.first);
  for (const auto& entry : biases) lists.push_back(static_cast<int32_t>(bits_of(entry.second)));
  lists.insert(lists.end(), stop_ids.begin(), stop_ids.end());
  lists.insert(lists.end(), starts.begin(), starts.end());
  lists.insert(lists.end(), words.begin(), words.end());
  return lists;
}

void append_allowed(const std::vector<int32_t>& ids, const SamplerShape& shape, std::vector<int32_t>& words) {
  std::vector<uint32_t> mask(shape.mask_words());
  for (int32_t id : ids) {
    if (id >= 0 && id < shape.vocab) mask[id / 32] |= 1u << (id % 32);
  }
  words.insert(words.end(), mask.begin(), mask.end());
}

// Each token of prompt and output once, with its number in the output.
void append_counts(const runner::SlotBinding& binding, const SamplerShape& shape, BindRecord& record,
                   std::vector<int32_t>& words) {
  std::unordered_map<int32_t, std::pair<uint32_t, int32_t>> seen;  // kInPrompt or 0, count
  auto known = [&](int32_t id) { return id >= 0 && id < shape.vocab; };
  for (int32_t id : binding.prompt) {
    if (known(id)) seen[id].first = kInPrompt;
  }
  for (int32_t id : binding.output) {
    if (known(id)) ++seen[id].second;
  }
  std::vector<int32_t> overflows;
  for (const auto& [id, entry] : seen) {
    const auto code = entry.first | static_cast<uint32_t>(std::min<int32_t>(entry.second, kCountEscape));
    words.push_back(static_cast<int32_t>(static_cast<uint32_t>(id) | code << 24));
    if (entry.second >= kCountEscape) overflows.insert(overflows.end(), {id, entry.second});
  }
  record.num_counts = static_cast<int32_t>(seen.size());
  record.num_overflows = static_cast<int32_t>(overflows.size() / 2);
  words.insert(words.end(), overflows.begin(), overflows.end());
}

}  // namespace

void make_bind_record(const runner::SlotBinding& binding, const SamplerShape& shape,
                      std::vector<uint64_t>& record, std::vector<int32_t>& long_lists) {
  const sampling::SamplingParams& p = *binding.params;
  BindRecord head;
  head.slot = binding.slot;
  head.params = make_params(p, shape);
  std::vector<int32_t> words = make_lists(p, shape.vocab, head.params);
  long_lists.clear();
  if (words.size() > kSlotListWords) long_lists.swap(words);
  head.num_list_words = static_cast<int32_t>(words.size());
  if (head.params.flags & kAllowedOnly) append_allowed(p.allowed_token_ids, shape, words);
  if (head.params.flags & kPenalties) append_counts(binding, shape, head, words);
  head.num_outputs = static_cast<int32_t>(binding.output.size());
  const auto kept = std::min<std::ptrdiff_t>(head.num_outputs, kRecentTokens);
  words.insert(words.end(), binding.output.end() - kept, binding.output.end());

  record.assign((sizeof(head) + words.size() * sizeof(int32_t) + 7) / 8, 0);
  std::memcpy(record.data(), &head, sizeof(head));
  std::memcpy(record.data() + sizeof(head) / 8, words.data(), words.size() * sizeof(int32_t));
}

int64_t top_capacity(const SamplerShape& shape) {
  const int64_t each =
      shape.max_logprobs < 0 ? shape.vocab : std::min<int64_t>(shape.max_logprobs, shape.vocab);
  // Rows that ask for the whole vocabulary go one by one rather than cost a gigabyte.
  return std::max<int64_t>(each, std::min<int64_t>(each * shape.max_rows, int64_t{1} << 20));
}

sampling::PositionLogprobs make_logprobs(const RowResult& row, std::span<const TopEntry> top,
                                         bool as_logits) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  const double normalizer =
      as_logits ? 0.0 : row.max + std::log(static_cast<double>(row.total) / static_cast<double>(kWeightOne));
  auto value_of = [&](float value) {
    return value == kLowest ? kLowest : static_cast<float>(static_cast<double>(value) - normalizer);
  };
  std::vector<TopEntry> sorted(top.begin(), top.end());
  std::sort(sorted.begin(), sorted.end(), [](const TopEntry& a, const TopEntry& b) {
    return a.value != b.value ? a.value > b.value : a.token < b.token;
  });
  sampling::PositionLogprobs result;
  result.chosen = {row.token, value_of(row.value), row.rank};
  int32_t rank = 0;
  for (const TopEntry& entry : sorted) result.top.push_back({entry.token, value_of(entry.value), ++rank});
  return result;
}

}  // namespace outrider::cuda

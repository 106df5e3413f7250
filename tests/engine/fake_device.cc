#include "engine/fake_device.h"

#include <algorithm>
#include <memory>
#include <span>
#include <stdexcept>

namespace outrider::engine {

using runner::kNoPage;
using runner::kTokenFromDevice;

namespace {

void require(bool holds, const char* rule) {
  if (!holds) throw std::logic_error(rule);
}

uint64_t state_of(int32_t token, int64_t position, uint64_t full_sum, uint64_t chunk_sum) {
  return hash_all({uint64_t(token), uint64_t(position), full_sum, chunk_sum});
}
uint64_t kv_of(int group, int64_t position, uint64_t state) {
  return hash_all({uint64_t(group), uint64_t(position), state}) | 1;
}
// Ending tokens come before min_tokens too, where a sampler would mask them: the scheduler has to ignore them
// there.
int32_t next_token(uint64_t state, const sampling::SamplingParams& params, int64_t output_index,
                   std::span<const uint32_t> mask) {
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < kVocabulary; ++id) {
    if (mask.empty() || (mask[id / 32] >> (id % 32) & 1) != 0) ids.push_back(id);
  }
  require(!ids.empty(), "a mask that allows nothing");
  return ids[hash_all({state, params.seed, uint64_t(output_index)}) % ids.size()];
}

}  // namespace

uint64_t hash_all(std::initializer_list<uint64_t> values) {
  uint64_t h = 0x243F6A8885A308D3u;
  for (uint64_t value : values) {
    h = (h ^ value) * 0xFF51AFD7ED558CCDu;
    h ^= h >> 32;
  }
  return h;
}

std::vector<int32_t> PlainModel::predict(const Request& request, int64_t max_model_len, FinishReason* reason,
                                         bool* by_grammar) const {
  const sampling::SamplingParams& params = *request.params;
  std::vector<int32_t> tokens = request.prompt, outputs;
  const auto prompt_length = static_cast<int64_t>(tokens.size());
  std::unique_ptr<sampling::GrammarMatcher> matcher;
  std::vector<uint32_t> mask;
  if (request.grammar) {
    matcher = request.grammar->start();
    mask.resize(request.grammar->mask_words());
  }
  uint64_t full_sum = 0, chunk_sum = 0;
  for (int64_t p = 0;; ++p) {
    if (kv_.chunk_size > 0 && p % kv_.chunk_size == 0) chunk_sum = 0;
    uint64_t state = state_of(tokens[p], p, full_sum, chunk_sum);
    for (int g = 0; g < kv_.num_groups(); ++g)
      (kv_.group_is_chunked[g] ? chunk_sum : full_sum) += kv_of(g, p, state);
    if (p + 1 < prompt_length) continue;
    const bool may_end = !params.ignore_eos && std::ssize(outputs) >= params.min_tokens;
    if (matcher) matcher->fill(mask, may_end);
    int32_t token = next_token(state, params, std::ssize(outputs), mask);
    tokens.push_back(token);
    outputs.push_back(token);
    bool is_stop = (!params.ignore_eos && std::ranges::count(params.eos_token_ids, token)) ||
                   std::ranges::count(params.stop_token_ids, token);
    bool full = std::ssize(outputs) == params.max_tokens || std::ssize(tokens) == max_model_len;
    is_stop = is_stop && std::ssize(outputs) > params.min_tokens;
    if (reason) *reason = is_stop ? FinishReason::kStop : FinishReason::kLength;
    if (is_stop || full) return outputs;
    if (!matcher) continue;
    matcher->accept(token);
    if (!matcher->complete()) continue;
    if (reason) *reason = FinishReason::kStop;
    if (by_grammar) *by_grammar = true;
    return outputs;
  }
}

FakeDevice::FakeDevice(const model::KvGeometry& kv, int max_num_seqs, int max_num_batched_tokens)
    : kv_(kv),
      max_num_seqs_(max_num_seqs),
      max_num_batched_tokens_(max_num_batched_tokens),
      cells_(size_t(kv.num_blocks) * kv.block_size),
      slots_(max_num_seqs) {}

void FakeDevice::submit(runner::StepPlan plan) {
  require(steps_.size() < 2, "more than two steps in flight");
  check_shape(plan);
  Claims claims = claims_of(plan);
  check_claims(claims, plan);
  steps_.emplace_back(std::move(plan), std::move(claims));
}

void FakeDevice::check_shape(const runner::StepPlan& plan) const {
  require(!plan.sequences.empty(), "an empty plan");
  require(std::ssize(plan.tokens) <= max_num_batched_tokens_, "over the token budget");
  require(plan.pages.size() == plan.sequences.size() * kv_.num_groups() * plan.blocks_per_row,
          "wrong page table size");
  int32_t first = 0;
  for (const runner::SequenceStep& s : plan.sequences) {
    require(s.slot >= 0 && s.slot < max_num_seqs_, "slot out of range");
    require(s.num_tokens >= 1 && s.first_token == first, "tokens are not in order");
    first += s.num_tokens;
  }
  require(first == std::ssize(plan.tokens), "tokens without a sequence");
}

FakeDevice::Claims FakeDevice::claims_of(const runner::StepPlan& plan) const {
  Claims claims;
  for (const runner::SlotBinding& binding : plan.bindings) claims.slots.insert(binding.slot);
  std::set<int32_t> rows;
  for (size_t s = 0; s < plan.sequences.size(); ++s) {
    const runner::SequenceStep& step = plan.sequences[s];
    require(rows.insert(step.slot).second, "two rows of one slot");
    claims.slots.insert(step.slot);
    const int64_t end = int64_t{step.num_computed} + step.num_tokens;
    for (int g = 0; g < kv_.num_groups(); ++g) {
      const int32_t* pages = &plan.pages[(s * kv_.num_groups() + g) * plan.blocks_per_row];
      int64_t begin = kv_.group_is_chunked[g] ? step.num_computed / kv_.chunk_size * kv_.chunk_size : 0;
      for (int64_t b = 0; b < plan.blocks_per_row; ++b) {
        bool needed = b >= begin / kv_.block_size && b * kv_.block_size < end;
        require((pages[b] != kNoPage) == needed, "a page is missing, or named without need");
        if (!needed) continue;
        require(pages[b] >= 0 && pages[b] < kv_.num_blocks, "page out of range");
        if ((b + 1) * kv_.block_size > step.num_computed) {
          require(claims.writes.emplace(pages[b], step.slot).second, "two rows write one page");
        } else {
          claims.reads[pages[b]].insert(step.slot);
        }
      }
    }
  }
  for (const auto& [page, slot] : claims.writes)
    require(!claims.reads.contains(page), "a page is read and written");
  return claims;
}

// Between steps in flight: slots keep their owner, and a page that one writes is named by the same slot only.
void FakeDevice::check_claims(const Claims& claims, const runner::StepPlan& plan) const {
  for (const auto& [earlier_plan, earlier] : steps_) {
    for (const runner::SlotBinding& binding : plan.bindings) {
      require(!earlier.slots.contains(binding.slot), "a slot was given away under a step in flight");
    }
    for (const auto& [page, slot] : claims.writes) {
      auto write = earlier.writes.find(page);
      require(write == earlier.writes.end() || write->second == slot,
              "a page was given away under a step in flight");
      auto read = earlier.reads.find(page);
      require(read == earlier.reads.end(), "a page is overwritten under a step in flight");
    }
    for (const auto& [page, slots] : claims.reads) {
      auto write = earlier.writes.find(page);
      require(write == earlier.writes.end() || slots == std::set{write->second},
              "a page is shared before it is computed");
    }
  }
}

runner::StepResult FakeDevice::collect() {
  require(!steps_.empty(), "nothing to collect");
  runner::StepPlan plan = std::move(steps_.front().first);
  steps_.pop_front();
  for (runner::SlotBinding& binding : plan.bindings) {
    Slot& slot = slots_[binding.slot];
    slot = {true, std::move(binding.params), std::move(binding.prompt), 0};
    slot.prompt_length = std::ssize(slot.tokens);
    slot.tokens.insert(slot.tokens.end(), binding.output.begin(), binding.output.end());
  }
  runner::StepResult result{.id = plan.id};
  for (int row = 0; row < std::ssize(plan.sequences); ++row) run_row(plan, row, &result);
  return result;
}

void FakeDevice::run_row(const runner::StepPlan& plan, int row, runner::StepResult* result) {
  const runner::SequenceStep& step = plan.sequences[row];
  Slot& slot = slots_[step.slot];
  require(slot.bound, "a slot without a request");
  const int32_t* pages = &plan.pages[size_t(row) * kv_.num_groups() * plan.blocks_per_row];
  uint64_t state = 0;
  const int64_t end = int64_t{step.num_computed} + step.num_tokens;
  require(end <= std::ssize(slot.tokens), "positions beyond the known tokens");
  for (int64_t p = step.num_computed; p < end; ++p) {
    int32_t token = plan.tokens[step.first_token + (p - step.num_computed)];
    if (token == kTokenFromDevice) {
      require(p >= slot.prompt_length && p + 1 == std::ssize(slot.tokens),
              "only the last token may be unknown");
      token = slot.tokens[p];
    }
    require(token == slot.tokens[p], "the plan's token is not the slot's");
    state = compute(pages, plan.blocks_per_row, p, token);
  }
  if (step.prompt_logprobs) {
    runner::PromptLogprobs logprobs{.sequence = row};
    for (int64_t p = step.num_computed + 1; p <= std::min(end, slot.prompt_length - 1); ++p) {
      if (p == end) require(step.next_prompt_token == slot.tokens[p], "wrong next_prompt_token");
      int32_t token = slot.tokens[p];
      logprobs.positions.push_back({{token, fake_logprob(p, token), 1}, {}});
    }
    result->prompt.push_back(std::move(logprobs));
  }
  require(step.sample == (end == std::ssize(slot.tokens)),
          "a row samples exactly at the end of its sequence");
  if (!step.sample) return;
  require(step.output_index == std::ssize(slot.tokens) - slot.prompt_length, "wrong output_index");
  std::span<const uint32_t> mask;
  if (step.mask >= 0) {
    require(std::ssize(plan.masks) >= int64_t{step.mask + 1} * plan.mask_words, "a mask out of range");
    mask = std::span(plan.masks).subspan(size_t(step.mask) * plan.mask_words, plan.mask_words);
  }
  int32_t token = next_token(state, *slot.params, step.output_index, mask);
  slot.tokens.push_back(token);
  result->sampled.push_back({.sequence = row, .token = token});
}

uint64_t FakeDevice::compute(const int32_t* pages, int blocks_per_row, int64_t position, int32_t token) {
  uint64_t full_sum = 0, chunk_sum = 0;
  auto cell = [&](int group, int64_t p) -> uint64_t& {
    int32_t page = pages[group * blocks_per_row + p / kv_.block_size];
    return cells_[size_t(page) * kv_.block_size + p % kv_.block_size];
  };
  for (int g = 0; g < kv_.num_groups(); ++g) {
    bool chunked = kv_.group_is_chunked[g];
    int64_t begin = chunked ? position / kv_.chunk_size * kv_.chunk_size : 0;
    for (int64_t q = begin; q < position; ++q) (chunked ? chunk_sum : full_sum) += cell(g, q);
  }
  uint64_t state = state_of(token, position, full_sum, chunk_sum);
  for (int g = 0; g < kv_.num_groups(); ++g) cell(g, position) = kv_of(g, position, state);
  return state;
}

}  // namespace outrider::engine

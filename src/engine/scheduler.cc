#include "engine/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <utility>

namespace outrider::engine {

using runner::kNoPage;
using runner::kTokenFromDevice;

namespace {

// A prompt of thousands of tokens beside so many decodes would keep each of them waiting for several times
// its usual interval. Fewer sequences take more than a hundred of their own steps for each prompt that comes.
constexpr int64_t kManyDecodes = 96;

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

Output failed(RequestId id, std::string error) {
  Output output{.id = id};
  output.finish_reason = FinishReason::kError;
  output.error = std::move(error);
  return output;
}

// The next token's. Ending ids are no part of the grammar; where they may not end the output they are not
// sampled.
void fill_mask(Sequence* sequence) {
  const sampling::SamplingParams& params = *sequence->params;
  sequence->matcher->fill(sequence->mask, !params.ignore_eos && sequence->num_outputs() >= params.min_tokens);
}

}  // namespace

Scheduler::Scheduler(model::KvGeometry kv, EngineOptions options, uint64_t seed)
    : options_(std::move(options)), cache_(kv, options_.prefix_caching, seed) {
  for (int32_t slot = options_.max_num_seqs - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

// --- requests ---

void Scheduler::add(RequestId id, Request request, Clock::time_point now) {
  std::string error;
  int64_t prompt_length = static_cast<int64_t>(request.prompt.size());
  if (!request.params) {
    error = "a request without sampling parameters";
  } else if (prompt_length < 1 || prompt_length >= options_.max_model_len) {
    error = fmt::format("the prompt has {} tokens; from 1 to {} are possible", prompt_length,
                        options_.max_model_len - 1);
  }
  int64_t max_outputs = 0;
  if (error.empty()) {
    max_outputs = std::clamp<int64_t>(request.params->max_tokens, 1, options_.max_model_len - prompt_length);
    // The last output's own K and V are never needed.
    int64_t pages = cache_.peak_pages(prompt_length + max_outputs - 1);
    if (pages > cache_.pool().num_pages()) {
      error = fmt::format("prompt and max_tokens ({} + {} tokens) need {} KV cache pages of {}",
                          prompt_length, max_outputs, pages, cache_.pool().num_pages());
    }
  }
  if (!error.empty()) {
    outputs_.push_back(failed(id, std::move(error)));
    return;
  }
  auto sequence = std::make_unique<Sequence>();
  sequence->id = id;
  sequence->params = std::move(request.params);
  sequence->priority = options_.policy == Policy::kPriority ? request.priority : 0;
  sequence->cache_salt = std::move(request.cache_salt);
  sequence->prompt_length = prompt_length;
  sequence->max_outputs = max_outputs;
  sequence->tokens = std::move(request.prompt);
  sequence->arrival = std::min(request.arrival, now);
  if (request.grammar) {
    try {
      open_grammar(sequence.get(), *request.grammar);
    } catch (const std::exception& e) {
      outputs_.push_back(failed(id, e.what()));
      return;
    }
  }
  waiting_.insert(sequence.get());
  sequences_.emplace(id, std::move(sequence));
}

bool Scheduler::cancel(RequestId id, FinishReason reason, const std::string& error, Clock::time_point now) {
  auto found = sequences_.find(id);
  if (found == sequences_.end() || found->second->state == Sequence::State::kEnding) return false;
  Output output{.id = id};
  output.finish_reason = reason;
  output.error = error;
  finish(found->second.get(), std::move(output), now);
  return true;
}

void Scheduler::cancel_all(FinishReason reason, const std::string& error, Clock::time_point now) {
  for (Queue* queue : {&running_, &waiting_}) {
    while (!queue->empty()) cancel((*queue->begin())->id, reason, error, now);
  }
}

void Scheduler::reset_prefix_cache() {
  cache_.forget_prefixes();
  for (auto& [id, sequence] : sequences_) sequence->table.may_publish = false;
}

std::vector<Output> Scheduler::take_outputs() { return std::exchange(outputs_, {}); }
std::vector<Preemption> Scheduler::take_preemptions() { return std::exchange(preemptions_, {}); }

StepStats Scheduler::take_stats() {
  StepStats stats = std::exchange(stats_, {});
  stats.running = static_cast<int64_t>(running_.size());
  stats.waiting = static_cast<int64_t>(waiting_.size());
  const BlockPool& pool = cache_.pool();
  stats.kv_usage = pool.num_pages() > 0 ? 1.0 - double(pool.num_available()) / pool.num_pages() : 0.0;
  return stats;
}

// --- planning ---

std::optional<runner::StepPlan> Scheduler::plan(Clock::time_point now) {
  int64_t budget = options_.max_num_batched_tokens;
  std::vector<Row> rows = share_budget(&budget);
  if (give_pages(&rows)) admit(budget, &rows, now);
  if (rows.empty()) return std::nullopt;
  return write_plan(std::move(rows));
}

int64_t Scheduler::limited(int64_t tokens) const {
  int64_t threshold = options_.long_prefill_token_threshold;
  return threshold > 0 ? std::min(tokens, threshold) : tokens;
}

// Rows of running sequences, first in line first: decodes take their token before prefills share what is
// left. Nobody is starved: a request is admitted only with budget to spare, so there are never more that run
// than tokens.
std::vector<Scheduler::Row> Scheduler::share_budget(int64_t* budget) const {
  std::vector<Row> rows;
  rows.reserve(running_.size());
  for (Sequence* sequence : running_)
    rows.push_back({.sequence = sequence, .start = sequence->num_scheduled});
  for (Row& row : rows) {
    if (row.sequence->remaining() != 1 || *budget == 0) continue;
    row.num_tokens = 1;
    --*budget;
  }
  const int64_t decodes = options_.max_num_batched_tokens - *budget;
  if (options_.prompt_tokens_beside_decodes > 0 && decodes >= kManyDecodes)
    *budget = std::min<int64_t>(*budget, options_.prompt_tokens_beside_decodes);
  for (Row& row : rows) {
    int64_t remaining = row.sequence->remaining();
    if (remaining <= 1) continue;
    row.num_tokens = std::min(limited(remaining), *budget);
    *budget -= row.num_tokens;
  }
  std::erase_if(rows, [](const Row& row) { return row.num_tokens == 0; });
  return rows;
}

// Pages for the rows, first in line first. Where there are none for a single token, the last in line is
// preempted; if a submitted step still names that one, this row and all after it sit out. True when nobody
// went short.
bool Scheduler::give_pages(std::vector<Row>* rows) {
  bool enough = true;
  size_t kept = 0;
  for (Row& row : *rows) {
    Sequence& sequence = *row.sequence;
    if (sequence.state != Sequence::State::kRunning) break;  // preempted just now, as are all after it
    int64_t fitting = cache_.fit(sequence.table, row.start, row.num_tokens);
    while (fitting == 0 && make_room(sequence)) {
      enough = false;
      fitting = cache_.fit(sequence.table, row.start, row.num_tokens);
    }
    enough = enough && fitting == row.num_tokens;
    if (fitting == 0) break;
    row.num_tokens = fitting;
    cache_.extend(sequence.table, row.start, row.start + fitting);
    (*rows)[kept++] = row;
  }
  rows->resize(kept);
  return enough;
}

bool Scheduler::make_room(const Sequence& sequence) {
  Sequence* last = *running_.rbegin();
  if (last == &sequence || last->num_steps > 0) return false;
  preempt(last);
  return true;
}

void Scheduler::preempt(Sequence* victim) {
  assert(victim->num_steps == 0 && victim->num_unread == 0);
  int64_t published = options_.prefix_caching ? victim->table.num_published : 0;
  preemptions_.push_back({victim->id, victim->num_computed, published * cache_.block_size()});
  release(victim);
  victim->num_computed = victim->num_scheduled = 0;
  victim->prompt_logprobs.clear();
  victim->state = Sequence::State::kWaiting;
  ++victim->num_preemptions;
  ++stats_.preemptions;
  running_.erase(victim);
  waiting_.insert(victim);
}

runner::StepPlan Scheduler::write_plan(std::vector<Row> rows) {
  runner::StepPlan plan;
  plan.id = next_step_id_++;
  int num_blocks = 0;
  for (const Row& row : rows) num_blocks = std::max(num_blocks, row.sequence->table.num_blocks());
  plan.blocks_per_row = num_blocks;
  plan.pages.assign(rows.size() * cache_.num_groups() * num_blocks, kNoPage);
  for (size_t i = 0; i < rows.size(); ++i) write_row(&rows[i], static_cast<int>(i), &plan);
  in_flight_.push_back({plan.id, std::move(rows)});
  return plan;
}

void Scheduler::write_row(Row* row, int index, runner::StepPlan* plan) {
  Sequence& sequence = *row->sequence;
  const int64_t end = row->start + row->num_tokens;
  const auto known = static_cast<int64_t>(sequence.tokens.size());
  row->sample = end == sequence.length();
  row->prompt_logprobs = sequence.wants_prompt_logprobs() && row->start + 1 < sequence.prompt_length;
  if (std::exchange(sequence.needs_binding, false)) {
    runner::SlotBinding binding{.slot = sequence.slot, .params = sequence.params};
    auto output = sequence.tokens.begin() + sequence.prompt_length;
    binding.prompt.assign(sequence.tokens.begin(), output);
    binding.output.assign(output, sequence.tokens.end());
    plan->bindings.push_back(std::move(binding));
  }
  runner::SequenceStep step;
  step.slot = sequence.slot;
  step.num_computed = static_cast<int32_t>(row->start);
  step.num_tokens = static_cast<int32_t>(row->num_tokens);
  step.first_token = static_cast<int32_t>(plan->tokens.size());
  step.sample = row->sample;
  step.output_index = static_cast<int32_t>(sequence.num_outputs() + sequence.num_unread);
  step.prompt_logprobs = row->prompt_logprobs;
  if (end < sequence.prompt_length) step.next_prompt_token = sequence.tokens[end];
  if (sequence.matcher && row->sample) {
    // Every grammar is compiled for the same vocabulary.
    plan->mask_words = static_cast<int32_t>(sequence.mask.size());
    step.mask = static_cast<int32_t>(plan->masks.size() / sequence.mask.size());
    plan->masks.insert(plan->masks.end(), sequence.mask.begin(), sequence.mask.end());
  }
  plan->sequences.push_back(step);
  for (int64_t p = row->start; p < end; ++p) {
    plan->tokens.push_back(p < known ? sequence.tokens[p] : kTokenFromDevice);
  }
  cache_.write_row(sequence.table, row->start,
                   std::span(plan->pages)
                       .subspan(size_t(index) * cache_.num_groups() * plan->blocks_per_row,
                                size_t(cache_.num_groups()) * plan->blocks_per_row));
  sequence.num_scheduled = end;
  sequence.num_unread += row->sample;
  ++sequence.num_steps;
}

// --- results ---

void Scheduler::apply(runner::StepResult result, Clock::time_point now) {
  if (in_flight_.empty() || in_flight_.front().id != result.id) {
    throw std::runtime_error(fmt::format("the device answered step {}, which is not the oldest", result.id));
  }
  Step step = std::move(in_flight_.front());
  in_flight_.pop_front();
  std::vector<const runner::SampledToken*> sampled(step.rows.size(), nullptr);
  for (const runner::SampledToken& token : result.sampled) {
    if (token.sequence < 0 || token.sequence >= std::ssize(sampled) || !step.rows[token.sequence].sample ||
        token.token < 0) {
      throw std::runtime_error(fmt::format("the device sampled a token for row {} of step {}, which has none",
                                           token.sequence, result.id));
    }
    sampled[token.sequence] = &token;
  }
  std::vector<runner::PromptLogprobs*> prompt(step.rows.size(), nullptr);
  for (runner::PromptLogprobs& logprobs : result.prompt) {
    if (logprobs.sequence >= 0 && logprobs.sequence < std::ssize(prompt))
      prompt[logprobs.sequence] = &logprobs;
  }
  for (size_t i = 0; i < step.rows.size(); ++i) {
    const Row& row = step.rows[i];
    int64_t expected = std::min(row.start + row.num_tokens, row.sequence->prompt_length - 1) - row.start;
    if ((row.sample && !sampled[i]) ||
        (row.prompt_logprobs && (!prompt[i] || std::ssize(prompt[i]->positions) != expected))) {
      throw std::runtime_error(fmt::format("the device left out results of row {} of step {}", i, result.id));
    }
  }
  for (size_t i = 0; i < step.rows.size(); ++i) collect_row(step.rows[i], sampled[i], prompt[i], now);
}

void Scheduler::collect_row(const Row& row, const runner::SampledToken* sampled,
                            runner::PromptLogprobs* prompt, Clock::time_point now) {
  Sequence* sequence = row.sequence;
  --sequence->num_steps;
  if (sequence->state == Sequence::State::kEnding) {
    if (sequence->num_steps == 0) forget(sequence);
    return;
  }
  int64_t end = row.start + row.num_tokens;
  sequence->num_computed = end;
  stats_.computed_prompt_tokens += std::max<int64_t>(0, std::min(end, sequence->prompt_length) - row.start);
  if (row.prompt_logprobs) {
    sequence->prompt_logprobs.insert(sequence->prompt_logprobs.end(),
                                     std::make_move_iterator(prompt->positions.begin()),
                                     std::make_move_iterator(prompt->positions.end()));
  }
  cache_.advance(sequence->table, sequence->cache_salt, sequence->tokens, end);
  if (row.sample) append_token(sequence, *sampled, now);
}

void Scheduler::open_grammar(Sequence* sequence, const sampling::Grammar& grammar) {
  sequence->matcher = grammar.start();
  sequence->mask.resize(static_cast<size_t>(grammar.mask_words()));
  fill_mask(sequence);
}

// Takes the newest token. False where it is the last: nothing can follow, or it broke the grammar; `output`
// says which.
bool Scheduler::follow_grammar(Sequence* sequence, Output* output) {
  try {
    sequence->matcher->accept(sequence->tokens.back());
    fill_mask(sequence);
    if (std::ranges::any_of(sequence->mask, [](uint32_t word) { return word != 0; })) return true;
    if (!sequence->matcher->complete()) throw std::runtime_error("the grammar has no way to go on");
    output->finish_reason = FinishReason::kStop;
  } catch (const std::exception& e) {
    output->finish_reason = FinishReason::kError;
    output->error = e.what();
  }
  return false;
}

void Scheduler::append_token(Sequence* sequence, const runner::SampledToken& sampled, Clock::time_point now) {
  Output output{.id = sequence->id};
  output.tokens.push_back({sampled.token, sampled.has_logprobs, sampled.logprobs});
  if (sequence->num_outputs() == 0) {
    output.prompt_logprobs = std::exchange(sequence->prompt_logprobs, {});
    sequence->first_token = now;
    stats_.prompt_tokens += sequence->prompt_length;
    stats_.time_to_first_token.push_back(seconds(now - sequence->arrival));
  } else {
    stats_.inter_token_latency.push_back(seconds(now - sequence->last_token));
  }
  sequence->last_token = now;
  sequence->tokens.push_back(sampled.token);
  --sequence->num_unread;
  ++stats_.generation_tokens;
  if (std::optional<Stop> stop = find_stop(*sequence)) {
    output.finish_reason = stop->reason;
    output.stop_token = stop->token;
    finish(sequence, std::move(output), now);
  } else if (sequence->matcher && !follow_grammar(sequence, &output)) {
    finish(sequence, std::move(output), now);
  } else {
    output.num_cached_tokens = sequence->num_cached_tokens;
    outputs_.push_back(std::move(output));
  }
}

void Scheduler::finish(Sequence* sequence, Output output, Clock::time_point now) {
  FinishedRequest finished;
  finished.reason = *output.finish_reason;
  finished.prompt_tokens = sequence->prompt_length;
  finished.generation_tokens = sequence->num_outputs();
  finished.max_tokens = sequence->max_outputs;
  finished.cached_tokens = sequence->num_cached_tokens;
  finished.preemptions = sequence->num_preemptions;
  finished.e2e_seconds = seconds(now - sequence->arrival);
  finished.queue_seconds =
      seconds((sequence->was_admitted ? sequence->first_scheduled : now) - sequence->arrival);
  if (sequence->num_outputs() > 0) {
    finished.prefill_seconds = seconds(sequence->first_token - sequence->first_scheduled);
    finished.decode_seconds = seconds(sequence->last_token - sequence->first_token);
    finished.inference_seconds = seconds(sequence->last_token - sequence->first_scheduled);
  }
  stats_.finished.push_back(finished);
  if (finished.reason == FinishReason::kStop || finished.reason == FinishReason::kLength) {
    constexpr double kWeight = 0.02;  // of each
    mean_outputs_ += kWeight * (static_cast<double>(finished.generation_tokens) - mean_outputs_);
  }

  output.num_cached_tokens = sequence->num_cached_tokens;
  outputs_.push_back(std::move(output));
  (sequence->state == Sequence::State::kWaiting ? waiting_ : running_).erase(sequence);
  sequence->state = Sequence::State::kEnding;
  if (sequence->num_steps == 0) forget(sequence);
}

void Scheduler::release(Sequence* sequence) {
  cache_.close(sequence->table);
  if (sequence->slot < 0) return;
  free_slots_.push_back(sequence->slot);
  sequence->slot = -1;
}

void Scheduler::forget(Sequence* sequence) {
  release(sequence);
  sequences_.erase(sequence->id);
}

std::optional<Scheduler::Progress> Scheduler::first_in_line() const {
  if (running_.empty()) return std::nullopt;
  const Sequence* first = *running_.begin();
  return Progress{first->id, first->num_computed};
}

std::string Scheduler::check() const {
  std::vector<const BlockTable*> tables;
  std::vector<char> slot_taken(options_.max_num_seqs, false);
  for (int32_t slot : free_slots_) {
    if (std::exchange(slot_taken[slot], true)) return "a free slot is listed twice";
  }
  size_t ending = 0;
  for (const auto& [id, sequence] : sequences_) {
    tables.push_back(&sequence->table);
    bool waits = sequence->state == Sequence::State::kWaiting;
    ending += sequence->state == Sequence::State::kEnding;
    if (waits != (sequence->slot < 0)) return "a slot is missing or was not given back";
    if (!waits && std::exchange(slot_taken[sequence->slot], true)) return "a slot has two owners";
    if (waits && (sequence->num_steps > 0 || sequence->table.num_blocks() > 0))
      return "one that waits holds pages";
    if (sequence->state == Sequence::State::kEnding && sequence->num_steps == 0)
      return "an ended request stays";
  }
  if (sequences_.size() != running_.size() + waiting_.size() + ending) return "the queues miss a request";
  if (std::ranges::count(slot_taken, false) > 0) return "a slot leaked";
  return cache_.check(tables);
}

}  // namespace outrider::engine

// Which of the waiting requests may start: those that will have pages to their ends, as far as can be told.
#include <algorithm>
#include <cassert>

#include "engine/scheduler.h"

namespace outrider::engine {
namespace {

// Parts of a request's life; see keeps_pace.
constexpr int64_t kPaceParts = 16;

bool only_max_tokens_ends(const Sequence& sequence) {
  const sampling::SamplingParams& params = *sequence.params;
  return params.ignore_eos && params.stop_token_ids.empty() && !sequence.matcher;
}

}  // namespace

void Scheduler::admit(int64_t budget, std::vector<Row>* rows, Clock::time_point now) {
  while (budget > 0 && !waiting_.empty() && !free_slots_.empty()) {
    Sequence* sequence = *waiting_.begin();
    if (!try_admit(sequence, now)) return;
    Row row{.sequence = sequence, .start = sequence->num_scheduled};
    row.num_tokens = std::min(limited(sequence->remaining()), budget);
    row.num_tokens = cache_.fit(sequence->table, row.start, row.num_tokens);
    assert(row.num_tokens > 0);
    cache_.extend(sequence->table, row.start, row.start + row.num_tokens);
    budget -= row.num_tokens;
    rows->push_back(row);
  }
}

// What only max_tokens ends has that length; others are taken to get as long as those before them.
int64_t Scheduler::expected_outputs(const Sequence& sequence) const {
  if (only_max_tokens_ends(sequence)) return sequence.max_outputs;
  return std::min(sequence.max_outputs,
                  std::max(sequence.num_outputs() + 1, static_cast<int64_t>(mean_outputs_)));
}

int64_t Scheduler::remaining_steps(const Sequence& sequence) const {
  return std::max<int64_t>(0, expected_outputs(sequence) - sequence.num_outputs() - sequence.num_unread);
}

int64_t Scheduler::final_pages(const Sequence& sequence) const {
  return cache_.peak_pages(sequence.prompt_length + expected_outputs(sequence) - 1);
}

// Whether all that run, and those that wait for as long as there are slots, have room at their full length.
bool Scheduler::everybody_fits() const {
  int64_t pages = 0;
  for (const Sequence* s : running_) pages += final_pages(*s);
  size_t slots = free_slots_.size();
  for (auto s = waiting_.begin(); s != waiting_.end() && slots > 0; ++s, --slots) {
    pages += final_pages(**s);
    if (pages > cache_.pool().num_pages()) return false;
  }
  return pages <= cache_.pool().num_pages();
}

// Equal requests that start together end together, all of them large at once. Spread evenly over their lives,
// as many are in the pool as it holds at their mean size. So where memory is the limit, of those that have
// `steps` steps left at most a kPaceParts-th of that number, rounded up, may start within a kPaceParts-th of
// the steps. Lengths that are not known spread on their own. `shared`: pages that others hold anyway.
bool Scheduler::keeps_pace(const Sequence& candidate, int64_t shared) const {
  const int64_t steps = remaining_steps(candidate), part = steps / kPaceParts;
  if (!only_max_tokens_ends(candidate) || part == 0 || everybody_fits()) return true;
  const int64_t mean_pages =
      std::max<int64_t>(1, (prefill_pages(candidate.length()) + final_pages(candidate)) / 2 - shared);
  const int64_t beside = std::ranges::count_if(running_, [&](const Sequence* s) {
    return only_max_tokens_ends(*s) && remaining_steps(*s) > steps - part && remaining_steps(*s) <= steps;
  });
  return beside * kPaceParts * mean_pages < cache_.pool().num_pages();
}

// Whether there will be pages until the last of those that run and the candidate, with the `needed` pages of
// its prefill, have ended, each after as many tokens as are expected of it.
bool Scheduler::will_fit(const Sequence& candidate, int64_t needed) const {
  struct Growth {
    int64_t steps, pages;  // until it ends; held now
  };
  std::vector<Growth> all;
  all.reserve(running_.size() + 1);
  int64_t pages = 0;
  const auto add = [&](const Sequence& s, int64_t held) {
    all.push_back({remaining_steps(s), held});
    pages += held;
  };
  for (const Sequence* s : running_) {
    const int64_t held = cache_.num_held_pages(s->table);
    add(*s, s->remaining() <= 1 ? held : std::max(held, prefill_pages(s->length())));
  }
  add(candidate, prefill_pages(candidate.length()));
  // Shared pages are counted once only as long as nobody has ended.
  const BlockPool& pool = cache_.pool();
  const int64_t taken = pool.num_pages() - pool.num_available() + needed;
  std::ranges::sort(all, {}, &Growth::steps);
  auto left = static_cast<int64_t>(all.size());
  for (const Growth& next : all) {  // at its end it and those behind it have grown by as many positions
    const int64_t grown = left * cache_.num_groups() * next.steps / cache_.block_size();
    if (std::min(pages, taken) + grown > pool.num_pages()) return false;
    pages -= next.pages;
    --left;
  }
  return true;
}

// Admits when all that it has to compute now, and one more block for everybody, has pages, and there will be
// some for what is expected to grow, unless too many of its length have just started. Preemption decides
// where the expectation was wrong. Alone it is always admitted: add() made sure that it fits.
bool Scheduler::try_admit(Sequence* sequence, Clock::time_point now) {
  KvCache::Match match;
  bool look_up = options_.prefix_caching && !sequence->wants_prompt_logprobs();
  if (look_up) match = cache_.match(sequence->cache_salt, sequence->tokens);
  bool alone = running_.empty() && in_flight_.empty();
  const int64_t shared = match.num_pages - match.num_cached_pages;
  const int64_t needed = prefill_pages(sequence->length()) - shared + reserved_pages();
  if (!alone && (needed > cache_.pool().num_available() || !keeps_pace(*sequence, shared) ||
                 !will_fit(*sequence, needed)))
    return false;

  sequence->table = cache_.open(match);
  sequence->num_computed = sequence->num_scheduled = match.num_tokens;
  sequence->slot = free_slots_.back();
  free_slots_.pop_back();
  sequence->needs_binding = true;
  sequence->state = Sequence::State::kRunning;
  waiting_.erase(sequence);
  running_.insert(sequence);
  if (sequence->was_admitted) return true;
  sequence->was_admitted = true;
  sequence->first_scheduled = now;
  sequence->num_cached_tokens = match.num_tokens;
  if (look_up) {
    stats_.prefix_queries += sequence->prompt_length;
    stats_.prefix_hits += match.num_tokens;
  }
  return true;
}

// A prefill may be two steps ahead of the chunks that have been closed.
int64_t Scheduler::prefill_pages(int64_t length) const {
  return cache_.peak_pages(length, 2 * limited(options_.max_num_batched_tokens));
}

// Pages that those who run will take before long: the rest of their prefills, and a block each.
int64_t Scheduler::reserved_pages() const {
  int64_t pages = 0;
  for (const Sequence* sequence : running_) {
    pages += cache_.num_groups();
    if (sequence->remaining() <= 1) continue;
    pages += std::max<int64_t>(0, prefill_pages(sequence->length()) - cache_.num_held_pages(sequence->table));
  }
  return pages;
}

}  // namespace outrider::engine

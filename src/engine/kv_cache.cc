#include "engine/kv_cache.h"

#include <algorithm>
#include <cassert>

#include "runner/runner.h"

namespace outrider::engine {

using runner::kNoPage;

KvCache::KvCache(const model::KvGeometry& kv, bool prefix_caching, uint64_t seed)
    : kv_(kv),
      prefix_caching_(prefix_caching),
      num_chunked_(static_cast<int>(std::ranges::count(kv.group_is_chunked, true))),
      pool_(kv.num_blocks),
      prefixes_(kv, &pool_, seed) {}

int KvCache::first_needed_block(int64_t position) const {
  if (kv_.chunk_size <= 0) return 0;
  return static_cast<int>(position / kv_.chunk_size * kv_.chunk_size / kv_.block_size);
}

KvCache::Match KvCache::match(std::string_view salt, std::span<const int32_t> tokens) const {
  Match match;
  if (!prefix_caching_ || tokens.empty()) return match;
  int num_blocks = prefixes_.match(salt, tokens.first(tokens.size() - 1), &match.nodes);
  match.num_tokens = int64_t{num_blocks} * kv_.block_size;
  int first_chunked = first_needed_block(match.num_tokens);
  for (int b = 0; b < num_blocks; ++b) {
    std::span<const PageId> pages = prefixes_.pages(match.nodes[b]);
    for (int g = 0; g < kv_.num_groups(); ++g) {
      if (kv_.group_is_chunked[g] && b < first_chunked) continue;
      ++match.num_pages;
      match.num_cached_pages += pool_.refs(pages[g]) == 0;
    }
  }
  return match;
}

BlockTable KvCache::open(const Match& match) {
  BlockTable table;
  table.pages.resize(kv_.num_groups());
  table.first_chunked_block = first_needed_block(match.num_tokens);
  for (int b = 0; b < static_cast<int>(match.nodes.size()); ++b) {
    std::span<const PageId> pages = prefixes_.pages(match.nodes[b]);
    for (int g = 0; g < kv_.num_groups(); ++g) {
      bool closed = kv_.group_is_chunked[g] && b < table.first_chunked_block;
      table.pages[g].push_back(closed ? kNoPage : pages[g]);
      if (!closed) pool_.share(pages[g]);
    }
  }
  table.num_published = table.num_blocks();
  if (table.num_published > 0) table.last_published = match.nodes.back();
  return table;
}

int64_t KvCache::fit(const BlockTable& table, int64_t start, int64_t wanted) const {
  int64_t blocks = table.num_blocks() + pool_.num_available() / kv_.num_groups();
  return std::clamp<int64_t>(blocks * kv_.block_size - start, 0, wanted);
}

void KvCache::extend(BlockTable& table, int64_t start, int64_t end) {
  assert(fit(table, start, end - start) == end - start);
  assert(first_needed_block(start) <= table.num_blocks());
  while (int64_t{table.num_blocks()} * kv_.block_size < end) {
    for (std::vector<PageId>& pages : table.pages) pages.push_back(take_page());
  }
}

PageId KvCache::take_page() {
  if (pool_.num_unused() == 0) prefixes_.evict(pool_.oldest_cached());
  return pool_.take();
}

void KvCache::advance(BlockTable& table, std::string_view salt, std::span<const int32_t> tokens,
                      int64_t num_computed) {
  int num_full = static_cast<int>(num_computed / kv_.block_size);
  if (prefix_caching_ && table.may_publish && num_full > table.num_published) {
    publish(table, salt, tokens, num_full);
  }
  int first = first_needed_block(num_computed);
  for (int b = table.first_chunked_block; b < first; ++b) {
    for (int g = 0; g < kv_.num_groups(); ++g) {
      if (!kv_.group_is_chunked[g]) continue;
      pool_.give_back(table.pages[g][b]);
      table.pages[g][b] = kNoPage;
    }
  }
  table.first_chunked_block = std::max(table.first_chunked_block, first);
}

void KvCache::publish(BlockTable& table, std::string_view salt, std::span<const int32_t> tokens,
                      int num_full) {
  if (!prefixes_.is_live(table.last_published)) {
    // Another sequence's pages stood for our history there and were evicted: name our own from the start.
    table.num_published = 0;
    table.last_published = {};
  }
  std::vector<PageId> pages(kv_.num_groups());
  while (table.num_published < num_full) {
    int b = table.num_published;
    for (int g = 0; g < kv_.num_groups(); ++g) pages[g] = table.pages[g][b];
    std::span<const int32_t> block = tokens.subspan(size_t(b) * kv_.block_size, kv_.block_size);
    PrefixCache::NodeRef node;
    if (!prefixes_.publish(salt, table.last_published, block, pages, &node)) {
      table.may_publish = false;
      return;
    }
    table.last_published = node;
    ++table.num_published;
  }
}

void KvCache::write_row(const BlockTable& table, int64_t start, std::span<int32_t> row) const {
  size_t blocks_per_row = row.size() / kv_.num_groups();
  for (int g = 0; g < kv_.num_groups(); ++g) {
    int first = kv_.group_is_chunked[g] ? first_needed_block(start) : 0;
    std::copy(table.pages[g].begin() + first, table.pages[g].end(), row.begin() + g * blocks_per_row + first);
  }
}

void KvCache::close(BlockTable& table) {
  // The end of a sequence is the least likely to be asked for again: it becomes the oldest.
  for (int b = table.num_blocks() - 1; b >= 0; --b) {
    for (std::vector<PageId>& pages : table.pages) {
      if (pages[b] != kNoPage) pool_.give_back(pages[b]);
    }
  }
  table = BlockTable{};
}

int64_t KvCache::peak_pages(int64_t length, int64_t ahead) const {
  auto blocks = [this](int64_t positions) { return (positions + kv_.block_size - 1) / kv_.block_size; };
  int64_t pages = model::pages_for_sequence(kv_, length) + blocks(ahead) * num_chunked_;
  return std::min(pages, blocks(length) * kv_.num_groups());
}

int KvCache::num_held_pages(const BlockTable& table) const {
  int num_full = kv_.num_groups() - num_chunked_;
  return table.num_blocks() * num_full + (table.num_blocks() - table.first_chunked_block) * num_chunked_;
}

std::string KvCache::check(std::span<const BlockTable* const> tables) const {
  std::vector<int> holders(pool_.num_pages(), 0);
  for (const BlockTable* table : tables) {
    int held = 0;
    for (int g = 0; g < static_cast<int>(table->pages.size()); ++g) {
      for (int b = 0; b < table->num_blocks(); ++b) {
        PageId page = table->pages[g][b];
        bool closed = kv_.group_is_chunked[g] && b < table->first_chunked_block;
        if ((page == kNoPage) != closed) return "a page is missing, or held after its chunk was closed";
        if (closed) continue;
        ++holders[page];
        ++held;
        if (holders[page] > 1 && !pool_.has_entry(page) && !prefix_caching_)
          return "a private page has two holders";
      }
    }
    if (!table->pages.empty() && held != num_held_pages(*table)) return "num_held_pages is wrong";
  }
  int unused = 0, cached = 0;
  for (PageId page = 0; page < pool_.num_pages(); ++page) {
    if (holders[page] != pool_.refs(page)) return "a page's references differ from its holders";
    if (holders[page] == 0) ++(pool_.has_entry(page) ? cached : unused);
  }
  if (unused != pool_.num_unused() || cached != pool_.num_cached()) return "pages leaked from the free lists";
  return "";
}

}  // namespace outrider::engine

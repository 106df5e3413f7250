// Block tables of the sequences that run, over one pool and one prefix cache. Engine thread only.
// docs/kv-cache.md states the rules that this class keeps.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/block_pool.h"
#include "engine/prefix_cache.h"
#include "model/memory_plan.h"

namespace outrider::engine {

// The pages of one sequence. All groups have the same number of blocks; kNoPage where a closed chunk's page
// was given back (or never needed, after a prefix-cache hit).
struct BlockTable {
  std::vector<std::vector<PageId>> pages;  // [group][block]
  int first_chunked_block = 0;             // chunked groups hold pages from here on
  int num_published = 0;                   // blocks that the prefix cache has seen
  PrefixCache::NodeRef last_published;
  bool may_publish = true;

  int num_blocks() const { return pages.empty() ? 0 : static_cast<int>(pages[0].size()); }
};

class KvCache {
 public:
  KvCache(const model::KvGeometry& kv, bool prefix_caching, uint64_t seed);

  // What a new sequence with these tokens would find. At least one token is left to compute.
  struct Match {
    std::vector<PrefixCache::NodeRef> nodes;
    int64_t num_tokens = 0;
    int num_pages = 0;         // that the hit takes hold of
    int num_cached_pages = 0;  // of those, pages that nobody holds now
  };
  Match match(std::string_view salt, std::span<const int32_t> tokens) const;
  BlockTable open(const Match& match);

  // How many of `wanted` positions from `start` on there are pages for, those of the table included.
  int64_t fit(const BlockTable& table, int64_t start, int64_t wanted) const;
  // Gives the table pages up to position `end`; `fit` said that there are.
  void extend(BlockTable& table, int64_t start, int64_t end);
  // Positions up to `num_computed` are in the cache and no submitted step reads below it: enters full blocks
  // into the prefix cache, then gives closed chunks' pages back.
  void advance(BlockTable& table, std::string_view salt, std::span<const int32_t> tokens,
               int64_t num_computed);
  void close(BlockTable& table);  // gives back every page

  // Pages held at most by a sequence while positions [0, length) are computed, in steps that do not cross a
  // chunk's edge, or that go up to `ahead` positions beyond it.
  int64_t peak_pages(int64_t length, int64_t ahead = 0) const;
  int num_held_pages(const BlockTable& table) const;
  // A step's row, [groups, blocks]: the pages that positions from `start` on attend to, kNoPage elsewhere.
  void write_row(const BlockTable& table, int64_t start, std::span<int32_t> row) const;
  // Block of the first position that a token at `position` attends to in chunked groups.
  int first_needed_block(int64_t position) const;

  int num_groups() const { return kv_.num_groups(); }
  int block_size() const { return kv_.block_size; }
  const BlockPool& pool() const { return pool_; }
  void forget_prefixes() { prefixes_.clear(); }

  // First broken rule, given every open table; empty when all hold. For tests and debugging.
  std::string check(std::span<const BlockTable* const> tables) const;

 private:
  PageId take_page();
  void publish(BlockTable& table, std::string_view salt, std::span<const int32_t> tokens, int num_full);

  model::KvGeometry kv_;
  bool prefix_caching_;
  int num_chunked_ = 0;
  BlockPool pool_;
  PrefixCache prefixes_;
};

}  // namespace outrider::engine

#include "engine/prefix_cache.h"

#include <algorithm>
#include <bit>
#include <cassert>

#include "runner/runner.h"

namespace outrider::engine {

using runner::kNoPage;

namespace {

uint64_t mix(uint64_t h, uint64_t value) {
  h = (h ^ value) * 0x9E3779B97F4A7C15u;
  return h ^ (h >> 29);
}

}  // namespace

PrefixCache::PrefixCache(const model::KvGeometry& kv, BlockPool* pool, uint64_t seed, uint64_t hash_mask)
    : pool_(pool),
      block_size_(kv.block_size),
      chunk_size_(kv.chunk_size),
      num_groups_(kv.num_groups()),
      seed_(seed),
      hash_mask_(hash_mask),
      anchor_(num_groups_) {
  int num_anchors = 0;
  for (int g = 0; g < num_groups_; ++g) {
    anchor_[g] = !kv.group_is_chunked[g];
    num_anchors += anchor_[g];
  }
  if (num_anchors == 0) {
    anchor_[0] = true;
    num_anchors = 1;
  }
  int max_nodes = pool->num_pages() / num_anchors;
  nodes_.resize(max_nodes);
  for (int32_t i = max_nodes - 1; i >= 0; --i) free_nodes_.push_back(i);
  tokens_.resize(size_t(max_nodes) * block_size_);
  pages_.resize(size_t(max_nodes) * num_groups_, kNoPage);
  buckets_.resize(std::bit_ceil(static_cast<size_t>(std::max(1, max_nodes))), -1);
  node_of_page_.resize(pool->num_pages(), -1);
  group_of_page_.resize(pool->num_pages(), -1);
}

uint64_t PrefixCache::hash_of(int32_t parent, uint64_t salt_id, std::span<const int32_t> tokens) const {
  uint64_t h = mix(mix(seed_, static_cast<uint64_t>(parent)), salt_id);
  for (int32_t token : tokens) h = mix(h, static_cast<uint32_t>(token));
  return (h ^ (h >> 32)) & hash_mask_;
}

int32_t PrefixCache::find(int32_t parent, uint64_t salt_id, std::span<const int32_t> tokens) const {
  uint64_t hash = hash_of(parent, salt_id, tokens);
  for (int32_t i = buckets_[hash & (buckets_.size() - 1)]; i >= 0; i = nodes_[i].next_in_bucket) {
    const Node& node = nodes_[i];
    if (node.hash != hash || node.parent != parent || node.salt_id != salt_id) continue;
    if (std::equal(tokens.begin(), tokens.end(), tokens_.begin() + int64_t{i} * block_size_)) return i;
  }
  return -1;
}

int PrefixCache::match(std::string_view salt, std::span<const int32_t> tokens,
                       std::vector<NodeRef>* nodes) const {
  nodes->clear();
  auto found = salts_.find(std::string(salt));
  if (found == salts_.end()) return 0;
  int num_blocks = static_cast<int>(tokens.size()) / block_size_;
  int usable = 0;
  int run_start = 0;  // the blocks [run_start, b] have all their chunked pages
  int32_t parent = -1;
  for (int b = 0; b < num_blocks; ++b) {
    parent = find(parent, found->second.id, tokens.subspan(size_t(b) * block_size_, block_size_));
    if (parent < 0) break;
    NodeRef ref{parent, nodes_[parent].generation};
    nodes->push_back(ref);
    if (std::ranges::count(pages(ref), kNoPage) > 0) run_start = b + 1;
    int64_t length = int64_t{b + 1} * block_size_;
    int64_t chunk_start = chunk_size_ > 0 ? length / chunk_size_ * chunk_size_ : 0;
    if (chunk_start / block_size_ >= run_start) usable = b + 1;
  }
  nodes->resize(usable);
  return usable;
}

std::span<const PageId> PrefixCache::pages(NodeRef node) const {
  return {pages_.data() + size_t(node.index) * num_groups_, size_t(num_groups_)};
}

bool PrefixCache::is_live(NodeRef node) const {
  return node.index < 0 || (nodes_[node.index].live && nodes_[node.index].generation == node.generation);
}

bool PrefixCache::publish(std::string_view salt, NodeRef parent, std::span<const int32_t> tokens,
                          std::span<const PageId> pages, NodeRef* node) {
  assert(is_live(parent));
  auto salt_entry = salts_.find(std::string(salt));
  int32_t index = salt_entry == salts_.end() ? -1 : find(parent.index, salt_entry->second.id, tokens);
  if (index < 0) {
    for (int g = 0; g < num_groups_; ++g) {
      if (is_anchor(g) && (pages[g] == kNoPage || node_of_page_[pages[g]] >= 0)) return false;
    }
    index = create(salt, parent.index, tokens);
  }
  for (int g = 0; g < num_groups_; ++g) {
    PageId page = pages[g];
    if (page == kNoPage || page_at(index, g) != kNoPage || node_of_page_[page] >= 0) continue;
    page_at(index, g) = page;
    node_of_page_[page] = index;
    group_of_page_[page] = g;
    pool_->add_entry(page);
  }
  *node = {index, nodes_[index].generation};
  return true;
}

int32_t PrefixCache::create(std::string_view salt, int32_t parent, std::span<const int32_t> tokens) {
  assert(!free_nodes_.empty());
  int32_t index = free_nodes_.back();
  free_nodes_.pop_back();
  Node& node = nodes_[index];
  Salt& entry = salts_[std::string(salt)];
  if (entry.id == 0) {
    entry.id = next_salt_id_++;
    salt_names_[entry.id] = salt;
  }
  node.live = true;
  node.parent = parent;
  node.first_child = -1;
  node.previous_sibling = -1;
  node.next_sibling = -1;
  node.salt_id = entry.id;
  if (parent < 0) {
    ++entry.num_first_blocks;
  } else {
    node.next_sibling = nodes_[parent].first_child;
    if (node.next_sibling >= 0) nodes_[node.next_sibling].previous_sibling = index;
    nodes_[parent].first_child = index;
  }
  node.hash = hash_of(parent, entry.id, tokens);
  int32_t& bucket = buckets_[node.hash & (buckets_.size() - 1)];
  node.next_in_bucket = bucket;
  bucket = index;
  std::ranges::copy(tokens, tokens_.begin() + int64_t{index} * block_size_);
  ++num_nodes_;
  return index;
}

void PrefixCache::evict(PageId page) {
  int32_t index = node_of_page_[page];
  int group = group_of_page_[page];
  assert(index >= 0 && page_at(index, group) == page);
  if (is_anchor(group)) {
    drop(index);
    return;
  }
  page_at(index, group) = kNoPage;
  node_of_page_[page] = -1;
  pool_->drop_entry(page);
}

void PrefixCache::drop(int32_t top) {
  // Leaves first, so that no node ever outlives its parent.
  int32_t index = top;
  while (true) {
    while (nodes_[index].first_child >= 0) index = nodes_[index].first_child;
    int32_t parent = nodes_[index].parent;
    remove_node(index);
    if (index == top) return;
    index = parent;
  }
}

void PrefixCache::remove_node(int32_t index) {
  Node& node = nodes_[index];
  for (int g = 0; g < num_groups_; ++g) {
    PageId page = page_at(index, g);
    if (page == kNoPage) continue;
    page_at(index, g) = kNoPage;
    node_of_page_[page] = -1;
    pool_->drop_entry(page);
  }
  if (node.previous_sibling >= 0) {
    nodes_[node.previous_sibling].next_sibling = node.next_sibling;
  } else if (node.parent >= 0) {
    nodes_[node.parent].first_child = node.next_sibling;
  }
  if (node.next_sibling >= 0) nodes_[node.next_sibling].previous_sibling = node.previous_sibling;
  int32_t* link = &buckets_[node.hash & (buckets_.size() - 1)];
  while (*link != index) link = &nodes_[*link].next_in_bucket;
  *link = node.next_in_bucket;
  if (node.parent < 0) {
    auto name = salt_names_.find(node.salt_id);
    auto salt = salts_.find(name->second);
    if (--salt->second.num_first_blocks == 0) {
      salts_.erase(salt);
      salt_names_.erase(name);
    }
  }
  node.live = false;
  ++node.generation;
  free_nodes_.push_back(index);
  --num_nodes_;
}

void PrefixCache::clear() {
  for (int32_t i = 0; i < static_cast<int32_t>(nodes_.size()); ++i) {
    if (nodes_[i].live && nodes_[i].parent < 0) drop(i);
  }
}

}  // namespace outrider::engine

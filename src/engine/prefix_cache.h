// What the pages hold: a trie of full blocks of tokens, one tree a salt. Engine thread only.
//
// A node stands for one block after one exact history: it is found by (parent node, salt, tokens), and a hit
// compares parent, salt and all tokens; the hash only picks the bucket. Two histories can therefore never be
// confused, whatever their hashes. A node names at most one page a group. Pages of the anchor groups (the
// full-attention groups; group 0 in a model without any) are needed by every longer prefix, so a node lives
// exactly as long as its anchor pages and takes its descendants with it; chunked groups' pages may be
// missing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/block_pool.h"
#include "model/memory_plan.h"

namespace outrider::engine {

class PrefixCache {
 public:
  // Stays comparable when its node is gone: see is_live.
  struct NodeRef {
    int32_t index = -1;  // -1: the root of a salt's tree
    uint32_t generation = 0;
  };

  // `seed` keeps clients from choosing tokens that fall into one bucket. `hash_mask`: tests make all hashes
  // collide.
  PrefixCache(const model::KvGeometry& kv, BlockPool* pool, uint64_t seed, uint64_t hash_mask = ~uint64_t{0});

  // The longest cached prefix of `tokens` from which a sequence can go on, in blocks: all anchor pages of it,
  // and the chunked groups' pages of the chunk that its next position falls into. `nodes` gets one node a
  // block.
  int match(std::string_view salt, std::span<const int32_t> tokens, std::vector<NodeRef>* nodes) const;
  std::span<const PageId> pages(NodeRef node) const;  // one a group, kNoPage where missing

  // Names computed pages: block `tokens` after `parent`. `pages` has one a group, kNoPage where it was given
  // back. An entry that exists keeps its pages and takes only those that it lacks. False when an anchor page
  // is missing.
  bool publish(std::string_view salt, NodeRef parent, std::span<const int32_t> tokens,
               std::span<const PageId> pages, NodeRef* node);
  bool is_live(NodeRef node) const;

  void evict(PageId page);  // forgets what is known of this page and all that is of no use without it
  void clear();

  int num_nodes() const { return num_nodes_; }

 private:
  struct Node {
    int32_t parent = -1, first_child = -1, next_sibling = -1, previous_sibling = -1;
    int32_t next_in_bucket = -1;
    uint32_t generation = 0;
    uint64_t salt_id = 0;
    uint64_t hash = 0;
    bool live = false;
  };
  struct Salt {
    uint64_t id = 0;
    int64_t num_first_blocks = 0;  // nodes below the root; the salt is forgotten with its last one
  };

  bool is_anchor(int group) const { return anchor_[group]; }
  uint64_t hash_of(int32_t parent, uint64_t salt_id, std::span<const int32_t> tokens) const;
  int32_t find(int32_t parent, uint64_t salt_id, std::span<const int32_t> tokens) const;
  int32_t create(std::string_view salt, int32_t parent, std::span<const int32_t> tokens);
  void drop(int32_t top);
  void remove_node(int32_t index);
  PageId& page_at(int32_t node, int group) { return pages_[size_t(node) * num_groups_ + group]; }

  BlockPool* pool_;
  int block_size_, chunk_size_, num_groups_;
  uint64_t seed_, hash_mask_;
  std::vector<bool> anchor_;
  std::vector<Node> nodes_;  // no more than pages: every node holds an anchor page
  std::vector<int32_t> free_nodes_;
  std::vector<int32_t> tokens_;   // [nodes, block_size]
  std::vector<PageId> pages_;     // [nodes, groups]
  std::vector<int32_t> buckets_;  // first node of each, size a power of two
  std::vector<int32_t> node_of_page_, group_of_page_;
  std::unordered_map<std::string, Salt> salts_;
  std::unordered_map<uint64_t, std::string> salt_names_;
  uint64_t next_salt_id_ = 1;
  int num_nodes_ = 0;
};

}  // namespace outrider::engine

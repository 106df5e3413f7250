// The pool of KV pages: who holds each page, and which free pages still hold something worth finding again.
// Engine thread only. Every page is in exactly one of three states:
//   held    refs > 0, by that many sequences
//   cached  refs = 0, named by a prefix-cache entry; evicted least recently used first
//   unused  refs = 0, holds nothing
#pragma once

#include <cstdint>
#include <vector>

namespace outrider::engine {

using PageId = int32_t;  // runner::kNoPage where there is none

class BlockPool {
 public:
  explicit BlockPool(int num_pages);

  int num_pages() const { return static_cast<int>(refs_.size()); }
  int num_unused() const { return static_cast<int>(unused_.size()); }
  int num_cached() const { return num_cached_; }
  int num_available() const { return num_unused() + num_cached(); }

  int refs(PageId page) const { return refs_[page]; }
  bool has_entry(PageId page) const { return has_entry_[page]; }

  // A page that holds nothing, with one reference. Requires num_unused() > 0.
  PageId take();
  void share(PageId page);      // one more holder; a cached page is held again
  void give_back(PageId page);  // one holder less; the last one leaves it cached (as the newest) or unused
  void add_entry(PageId page);  // the prefix cache names this held page from now on
  void drop_entry(PageId page);
  // The next page to evict, or kNoPage. Stays cached until drop_entry.
  PageId oldest_cached() const;

 private:
  void append_cached(PageId page);
  void remove_cached(PageId page);

  std::vector<int32_t> refs_;
  std::vector<bool> has_entry_;
  std::vector<PageId> unused_;
  // Doubly linked list of cached pages, oldest first; index num_pages() is its sentinel.
  std::vector<PageId> previous_, next_;
  int num_cached_ = 0;
};

}  // namespace outrider::engine

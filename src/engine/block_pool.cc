#include "engine/block_pool.h"

#include <cassert>

#include "runner/runner.h"

namespace outrider::engine {

BlockPool::BlockPool(int num_pages)
    : refs_(num_pages, 0), has_entry_(num_pages, false), previous_(num_pages + 1), next_(num_pages + 1) {
  previous_[num_pages] = next_[num_pages] = num_pages;
  unused_.reserve(num_pages);
  for (PageId page = num_pages - 1; page >= 0; --page) unused_.push_back(page);
}

PageId BlockPool::take() {
  assert(!unused_.empty());
  PageId page = unused_.back();
  unused_.pop_back();
  refs_[page] = 1;
  return page;
}

void BlockPool::share(PageId page) {
  if (refs_[page] == 0) {
    assert(has_entry_[page]);
    remove_cached(page);
  }
  ++refs_[page];
}

void BlockPool::give_back(PageId page) {
  assert(refs_[page] > 0);
  if (--refs_[page] > 0) return;
  if (has_entry_[page]) {
    append_cached(page);
  } else {
    unused_.push_back(page);
  }
}

void BlockPool::add_entry(PageId page) {
  assert(refs_[page] > 0 && !has_entry_[page]);
  has_entry_[page] = true;
}

void BlockPool::drop_entry(PageId page) {
  assert(has_entry_[page]);
  has_entry_[page] = false;
  if (refs_[page] > 0) return;
  remove_cached(page);
  unused_.push_back(page);
}

PageId BlockPool::oldest_cached() const {
  PageId oldest = next_[num_pages()];
  return oldest == num_pages() ? runner::kNoPage : oldest;
}

void BlockPool::append_cached(PageId page) {
  PageId end = num_pages();
  PageId last = previous_[end];
  next_[last] = page;
  previous_[page] = last;
  next_[page] = end;
  previous_[end] = page;
  ++num_cached_;
}

void BlockPool::remove_cached(PageId page) {
  next_[previous_[page]] = next_[page];
  previous_[next_[page]] = previous_[page];
  --num_cached_;
}

}  // namespace outrider::engine

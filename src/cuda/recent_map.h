// A small map that forgets what was used longest ago.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace outrider::cuda {

template <typename Key, typename Value>
class RecentMap {
 public:
  explicit RecentMap(size_t capacity) : capacity_(capacity) {}

  // Null where there is none. Counts as a use.
  Value* find(const Key& key) {
    for (Entry& entry : entries_) {
      if (!(entry.key == key)) continue;
      entry.last_use = ++uses_;
      return &entry.value;
    }
    return nullptr;
  }

  // Of a key that is not there.
  Value& insert(const Key& key, Value value) {
    if (entries_.size() < capacity_) {
      entries_.push_back({key, std::move(value), ++uses_});
      return entries_.back().value;
    }
    Entry& oldest = *std::min_element(entries_.begin(), entries_.end(),
                                      [](const Entry& a, const Entry& b) { return a.last_use < b.last_use; });
    oldest = {key, std::move(value), ++uses_};
    return oldest.value;
  }

  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    Key key;
    Value value;
    uint64_t last_use = 0;
  };
  size_t capacity_;
  uint64_t uses_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace outrider::cuda

// Tokens by id and by bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace outrider::tokenizer {

class Vocabulary {
 public:
  // False when the id is taken. `text_of_encoder` tokens can be found by their bytes; the others (added
  // tokens, and vocabulary entries not spelled in the byte alphabet) only have an id.
  bool insert(int32_t id, std::string_view bytes, bool text_of_encoder);
  void mark_special(int32_t id) { entries_[id].flags |= kSpecial; }
  // Builds the table that find() needs; call once, after the last insert.
  void build_index();

  int32_t find(std::string_view bytes) const;  // -1 when absent

  int32_t size() const { return static_cast<int32_t>(entries_.size()); }  // largest id + 1
  bool has(int32_t id) const { return id >= 0 && id < size() && (entries_[id].flags & kPresent) != 0; }
  bool is_special(int32_t id) const { return has(id) && (entries_[id].flags & kSpecial) != 0; }
  bool is_text_of_encoder(int32_t id) const { return has(id) && (entries_[id].flags & kEncoder) != 0; }
  std::string_view bytes(int32_t id) const {
    return has(id) ? std::string_view(arena_).substr(entries_[id].offset, entries_[id].length)
                   : std::string_view();
  }

 private:
  enum Flags : uint8_t { kPresent = 1, kSpecial = 2, kEncoder = 4 };
  struct Entry {
    uint32_t offset = 0;
    uint32_t length : 24 = 0;
    uint32_t flags : 8 = 0;
  };
  struct Slot {
    uint32_t tag = 0;  // upper half of the hash
    int32_t id = -1;
  };

  std::string arena_;  // all tokens' bytes
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;  // open addressing, power of two
};

}  // namespace outrider::tokenizer

#include "tokenizer/vocabulary.h"

#include <bit>

#include "tokenizer/hash.h"

namespace outrider::tokenizer {

bool Vocabulary::insert(int32_t id, std::string_view bytes, bool text_of_encoder) {
  if (id >= size()) entries_.resize(static_cast<size_t>(id) + 1);
  Entry& entry = entries_[id];
  if (entry.flags & kPresent) return false;
  entry.offset = static_cast<uint32_t>(arena_.size());
  entry.length = static_cast<uint32_t>(bytes.size());
  entry.flags = kPresent | (text_of_encoder ? kEncoder : 0);
  arena_.append(bytes);
  return true;
}

void Vocabulary::build_index() {
  slots_.assign(std::bit_ceil(entries_.size() * 2 + 1), Slot{});
  const size_t mask = slots_.size() - 1;
  for (int32_t id = 0; id < size(); ++id) {
    if (!is_text_of_encoder(id)) continue;
    const uint64_t hash = hash_bytes(bytes(id));
    size_t at = hash & mask;
    while (slots_[at].id >= 0) at = (at + 1) & mask;
    slots_[at] = {static_cast<uint32_t>(hash >> 32), id};
  }
}

int32_t Vocabulary::find(std::string_view text) const {
  const size_t mask = slots_.size() - 1;
  const uint64_t hash = hash_bytes(text);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (size_t at = hash & mask; slots_[at].id >= 0; at = (at + 1) & mask) {
    if (slots_[at].tag == tag && bytes(slots_[at].id) == text) return slots_[at].id;
  }
  return -1;
}

}  // namespace outrider::tokenizer

#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "tokenizer/hash.h"

namespace outrider::tokenizer {
namespace {

// Up to this many bytes a scan for the lowest rank beats a heap: the ranks stay in a few cache lines.
constexpr size_t kShortPiece = 48;

}  // namespace

size_t MergeTable::hash(int32_t left, int32_t right) {
  return mix(static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right));
}

MergeTable::MergeTable(const std::vector<Merge>& merges) : slots_(std::bit_ceil(merges.size() * 2 + 1)) {
  const size_t mask = slots_.size() - 1;
  joined_.reserve(merges.size());
  for (const Merge& merge : merges) {
    size_t at = hash(merge.left, merge.right) & mask;
    while (slots_[at].left >= 0 && (slots_[at].left != merge.left || slots_[at].right != merge.right)) {
      at = (at + 1) & mask;
    }
    slots_[at] = {merge.left, merge.right, static_cast<uint32_t>(joined_.size())};
    joined_.push_back(merge.joined);
  }
}

uint32_t MergeTable::rank(int32_t left, int32_t right) const {
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash(left, right) & mask; slots_[at].left >= 0; at = (at + 1) & mask) {
    if (slots_[at].left == left && slots_[at].right == right) return slots_[at].rank;
  }
  return kNoRank;
}

Bpe::Bpe(const Vocabulary& vocabulary, const std::vector<MergeTable::Merge>& merges,
         std::array<int32_t, 256> byte_ids, bool ignore_merges)
    : vocabulary_(vocabulary), merges_(merges), byte_ids_(byte_ids), ignore_merges_(ignore_merges) {
  byte_pair_ranks_.reserve(256 * 256);
  for (const int32_t left : byte_ids_) {
    for (const int32_t right : byte_ids_) byte_pair_ranks_.push_back(merges_.rank(left, right));
  }
}

void Bpe::encode(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& out) const {
  if (ignore_merges_ || piece.size() == 1) {
    const int32_t id = vocabulary_.find(piece);
    if (id >= 0) {
      out.push_back(id);
      return;
    }
  }
  if (piece.size() <= kShortPiece) {
    merge_short(piece, out);
  } else {
    merge_long(piece, scratch, out);
  }
}

void Bpe::merge_short(std::string_view piece, std::vector<int32_t>& out) const {
  std::array<int32_t, kShortPiece> ids;
  std::array<uint32_t, kShortPiece> ranks;  // of ids[i] with ids[i + 1]
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(piece[i]); };
  size_t count = piece.size();
  for (size_t i = 0; i < count; ++i) {
    ids[i] = byte_ids_[byte(i)];
    ranks[i] = i + 1 < count ? byte_pair_ranks_[byte(i) * 256u + byte(i + 1)] : MergeTable::kNoRank;
  }
  while (count > 1) {
    const size_t at = std::min_element(ranks.begin(), ranks.begin() + count - 1) - ranks.begin();
    if (ranks[at] == MergeTable::kNoRank) break;
    ids[at] = merges_.joined(ranks[at]);
    std::copy(ids.begin() + at + 2, ids.begin() + count, ids.begin() + at + 1);
    std::copy(ranks.begin() + at + 2, ranks.begin() + count, ranks.begin() + at + 1);
    --count;
    ranks[at] = at + 1 < count ? merges_.rank(ids[at], ids[at + 1]) : MergeTable::kNoRank;
    if (at > 0) ranks[at - 1] = merges_.rank(ids[at - 1], ids[at]);
  }
  out.insert(out.end(), ids.begin(), ids.begin() + count);
}

// O(n log n): a pre-token can be as long as the request's body.
void Bpe::merge_long(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& out) const {
  auto& symbols = scratch.symbols;
  auto& queue = scratch.queue;
  const auto count = static_cast<int32_t>(piece.size());
  const auto worse = std::greater<std::pair<uint32_t, int32_t>>();
  symbols.clear();
  queue.clear();
  for (int32_t i = 0; i < count; ++i) {
    symbols.push_back({byte_ids_[static_cast<uint8_t>(piece[i])], i - 1, i + 1 < count ? i + 1 : -1});
  }
  const auto current_rank = [&](int32_t at) {
    const int32_t next = symbols[at].next;
    return symbols[at].id < 0 || next < 0 ? MergeTable::kNoRank
                                          : merges_.rank(symbols[at].id, symbols[next].id);
  };
  for (int32_t i = 0; i < count; ++i) {
    if (const uint32_t rank = current_rank(i); rank != MergeTable::kNoRank) queue.emplace_back(rank, i);
  }
  std::make_heap(queue.begin(), queue.end(), worse);
  const auto enqueue = [&](int32_t at) {
    const uint32_t rank = at < 0 ? MergeTable::kNoRank : current_rank(at);
    if (rank == MergeTable::kNoRank) return;
    queue.emplace_back(rank, at);
    std::push_heap(queue.begin(), queue.end(), worse);
  };
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), worse);
    const auto [rank, at] = queue.back();
    queue.pop_back();
    if (current_rank(at) != rank) continue;  // one of the two has been joined with another since
    const int32_t gone = symbols[at].next;
    symbols[at].id = merges_.joined(rank);
    symbols[at].next = symbols[gone].next;
    if (symbols[gone].next >= 0) symbols[symbols[gone].next].previous = at;
    symbols[gone].id = -1;
    enqueue(at);
    enqueue(symbols[at].previous);
  }
  for (int32_t at = 0; at >= 0; at = symbols[at].next) out.push_back(symbols[at].id);
}

}  // namespace outrider::tokenizer

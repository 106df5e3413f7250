// Byte-pair merging of one pre-token.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace outrider::tokenizer {

// Pairs of token ids that may be joined, each with its rank (a lower rank is joined first) and the joined
// token.
class MergeTable {
 public:
  static constexpr uint32_t kNoRank = UINT32_MAX;

  struct Merge {
    int32_t left, right, joined;
  };
  // Ranks are positions in `merges`; of two equal pairs the later counts, as in Hugging Face tokenizers.
  explicit MergeTable(const std::vector<Merge>& merges);

  uint32_t rank(int32_t left, int32_t right) const;  // kNoRank when the pair is not joined
  int32_t joined(uint32_t rank) const { return joined_[rank]; }

 private:
  struct Slot {
    int32_t left = -1, right = -1;
    uint32_t rank = kNoRank;
  };
  static size_t hash(int32_t left, int32_t right);

  std::vector<int32_t> joined_;  // by rank
  std::vector<Slot> slots_;      // open addressing, power of two
};

// Buffers that encode() reuses. One per thread of work.
struct BpeScratch {
  struct Symbol {
    int32_t id, previous, next;
  };
  std::vector<Symbol> symbols;
  std::vector<std::pair<uint32_t, int32_t>> queue;  // (rank, position of the left symbol)
};

class Bpe {
 public:
  // `byte_ids`: the token of each single byte. `ignore_merges`: a pre-token that is in the vocabulary is that
  // token, whatever the merges say.
  Bpe(const Vocabulary& vocabulary, const std::vector<MergeTable::Merge>& merges,
      std::array<int32_t, 256> byte_ids, bool ignore_merges);

  void encode(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& out) const;

 private:
  void merge_short(std::string_view piece, std::vector<int32_t>& out) const;
  void merge_long(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& out) const;

  const Vocabulary& vocabulary_;
  MergeTable merges_;
  std::array<int32_t, 256> byte_ids_;
  std::vector<uint32_t> byte_pair_ranks_;  // [256][256]: the first look-up of every pair, without hashing
  bool ignore_merges_;
};

}  // namespace outrider::tokenizer

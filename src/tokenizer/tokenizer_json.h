// tokenizer.json as read: everything in it that matters to byte-level BPE, checked, nothing else accepted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace outrider::tokenizer {

struct TokenizerJson {
  struct Text {  // a piece of `arena`
    uint32_t offset, length;
  };
  struct VocabularyEntry {
    Text spelling;
    int32_t id;
  };
  struct MergeEntry {
    Text left, right;  // spellings
  };
  struct AddedToken {
    std::string content;
    int32_t id;
    bool special;
    bool normalized;  // matched in what the tokens with normalized == false leave over
  };

  std::string arena;
  std::vector<VocabularyEntry> vocabulary;
  std::vector<MergeEntry> merges;  // in order of rank
  std::vector<AddedToken> added;
  std::string pattern;  // the Split pre-tokenizer's regular expression
  bool ignore_merges = false;
  int32_t bos_id = -1;  // what the post-processor puts in front, -1 for nothing

  std::string_view view(Text text) const { return std::string_view(arena).substr(text.offset, text.length); }
};

// Throws CheckpointError, naming `origin`, for broken JSON and for whatever Outrider's tokenizer does not do.
TokenizerJson read_tokenizer_json(std::string_view json, const std::string& origin);

}  // namespace outrider::tokenizer

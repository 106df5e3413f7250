// Finds added tokens ("<|eot|>") in raw text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace outrider::tokenizer {

class AddedTokens {
 public:
  void add(std::string content, int32_t id) { tokens_.emplace_back(std::move(content), id); }
  // Call once, after the last add.
  void build_index();
  bool empty() const { return tokens_.empty(); }

  struct Match {
    size_t begin, end;
    int32_t id;
  };
  // The leftmost occurrence at or after `from`, the longest of those that begin there; id -1 when there is
  // none.
  Match find(std::string_view text, size_t from) const;

 private:
  // The longest token at the start of `text`, as an index into tokens_; -1 when none.
  int64_t longest_at(std::string_view text) const;

  std::vector<std::pair<std::string, int32_t>> tokens_;  // sorted by content
  std::vector<bool> starts_;                             // [256]: some token begins with this byte
  int only_start_ = -1;                                  // set when all tokens begin with one byte
};

}  // namespace outrider::tokenizer

#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <cstring>

namespace outrider::tokenizer {

void AddedTokens::build_index() {
  std::sort(tokens_.begin(), tokens_.end());
  starts_.assign(256, false);
  for (const auto& [content, id] : tokens_) starts_[static_cast<uint8_t>(content[0])] = true;
  if (std::count(starts_.begin(), starts_.end(), true) == 1)
    only_start_ = static_cast<uint8_t>(tokens_[0].first[0]);
}

// Narrows the range of tokens that agree with the text, byte by byte; within the range the shortest stands
// first.
int64_t AddedTokens::longest_at(std::string_view text) const {
  const auto byte_at = [](const auto& token, size_t depth) {
    return static_cast<uint8_t>(token.first[depth]);
  };
  auto low = tokens_.begin();
  auto high = tokens_.end();
  int64_t best = -1;
  for (size_t depth = 0; depth < text.size() && low != high; ++depth) {
    const auto wanted = static_cast<uint8_t>(text[depth]);
    low = std::partition_point(low, high, [&](const auto& token) {
      return token.first.size() <= depth || byte_at(token, depth) < wanted;
    });
    high =
        std::partition_point(low, high, [&](const auto& token) { return byte_at(token, depth) == wanted; });
    if (low != high && low->first.size() == depth + 1) best = low - tokens_.begin();
  }
  return best;
}

AddedTokens::Match AddedTokens::find(std::string_view text, size_t from) const {
  for (size_t at = from; at < text.size(); ++at) {
    if (only_start_ >= 0) {
      const void* hit = std::memchr(text.data() + at, only_start_, text.size() - at);
      if (hit == nullptr) break;
      at = static_cast<const char*>(hit) - text.data();
    } else if (!starts_[static_cast<uint8_t>(text[at])]) {
      continue;
    }
    const int64_t best = longest_at(text.substr(at));
    if (best >= 0) return {at, at + tokens_[best].first.size(), tokens_[best].second};
  }
  return {text.size(), text.size(), -1};
}

}  // namespace outrider::tokenizer

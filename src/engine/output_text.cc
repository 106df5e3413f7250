#include "engine/output_text.h"

#include <algorithm>
#include <utility>

namespace outrider::engine {

OutputText::Matcher::Matcher(const std::string& stop) : border(stop.size() + 1, 0) {
  int32_t length = 0;
  for (size_t i = 1; i < stop.size(); ++i) {
    while (length > 0 && stop[length] != stop[i]) length = border[length];
    if (stop[length] == stop[i]) ++length;
    border[i + 1] = length;
  }
}

bool OutputText::Matcher::feed(const std::string& stop, char c) {
  while (matched > 0 && stop[matched] != c) matched = border[matched];
  if (stop[matched] == c) ++matched;
  if (matched < static_cast<int32_t>(stop.size())) return false;
  matched = border[matched];
  return true;
}

OutputText::OutputText(std::shared_ptr<const tokenizer::Tokenizer> tokenizer, TextOptions options)
    : detokenizer_(std::move(tokenizer), options.skip_special_tokens), options_(std::move(options)) {
  std::erase(options_.stop, "");
  for (const std::string& stop : options_.stop) matchers_.emplace_back(stop);
}

std::string OutputText::push(std::span<const int32_t> ids) {
  std::string certain;
  for (int32_t id : ids) {
    if (stopped_) break;
    ++num_tokens_;
    certain += scan(detokenizer_.push(id), num_tokens_ > options_.min_tokens);
  }
  text_ += certain;
  return certain;
}

std::string OutputText::finish() {
  if (stopped_) return "";
  std::string rest = scan(detokenizer_.flush(), num_tokens_ > options_.min_tokens);
  rest += std::exchange(held_, {});
  text_ += rest;
  return rest;
}

// Takes in `decoded` and returns what is certain. Bytes before the longest unfinished match are; stop strings
// begin with a whole character, so that is a whole number of characters.
std::string OutputText::scan(const std::string& decoded, bool may_stop) {
  for (char c : decoded) {
    held_ += c;
    const std::string* longest = nullptr;
    for (size_t i = 0; i < matchers_.size(); ++i) {
      const std::string& stop = options_.stop[i];
      if (matchers_[i].feed(stop, c) && (!longest || stop.size() > longest->size())) longest = &stop;
    }
    if (!longest || !may_stop) continue;
    stopped_ = *longest;
    std::string last = std::exchange(held_, {});
    if (!options_.include_stop_str_in_output) last.resize(last.size() - longest->size());
    return last;
  }
  size_t unfinished = 0;
  for (const Matcher& matcher : matchers_) unfinished = std::max<size_t>(unfinished, matcher.matched);
  std::string certain = held_.substr(0, held_.size() - unfinished);
  held_.erase(0, certain.size());
  return certain;
}

}  // namespace outrider::engine

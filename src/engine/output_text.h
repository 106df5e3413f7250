// From sampled ids to the text a client sees: detokenises, holds back what may yet become a stop string, cuts
// at one. One per request and choice; used by the thread that streams it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace outrider::engine {

struct TextOptions {
  std::vector<std::string> stop;  // empty ones are ignored
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;
  int64_t min_tokens = 0;  // a stop string ends the text only when its last byte comes after so many tokens
};

// Of several stop strings the one that is complete first ends the text, and of those that end together the
// longest: what comes out does not depend on how the text was cut into tokens.
class OutputText {
 public:
  OutputText(std::shared_ptr<const tokenizer::Tokenizer> tokenizer, TextOptions options);

  // Text that is now certain to be part of the answer. After a stop string was met, `stopped()` holds it and
  // further ids are ignored.
  std::string push(std::span<const int32_t> ids);
  // The rest, when generation ended without a stop string.
  std::string finish();

  const std::optional<std::string>& stopped() const { return stopped_; }
  const std::string& text() const { return text_; }  // all that was returned

 private:
  // Knuth, Morris and Pratt's automaton: looks at each byte of the text once.
  struct Matcher {
    explicit Matcher(const std::string& stop);
    bool feed(const std::string& stop, char c);  // true when the stop string ends with c
    std::vector<int32_t> border;  // [i]: longest proper prefix of the first i bytes that is a suffix of them
    int32_t matched = 0;          // bytes of the stop string that the text now ends with
  };

  std::string scan(const std::string& decoded, bool may_stop);

  tokenizer::IncrementalDetokenizer detokenizer_;
  TextOptions options_;
  std::vector<Matcher> matchers_;  // one a stop string
  std::optional<std::string> stopped_;
  std::string text_;  // returned
  std::string held_;  // decoded, not yet returned: may become a stop string
  int64_t num_tokens_ = 0;
};

}  // namespace outrider::engine

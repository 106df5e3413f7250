// Splits text at the matches of the regular expression that tokenizer.json carries (its "Split"
// pre-tokenizer).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace outrider::tokenizer {

class PreTokenizer {
 public:
  // `pattern` comes from a file: throws CheckpointError, naming `origin`, when it does not compile.
  PreTokenizer(const std::string& pattern, const std::string& origin);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;

  // One pass over `text`, which must be valid UTF-8 and outlive the pass. Many threads may each have one.
  class Pass {
   public:
    Pass(const PreTokenizer& parent, std::string_view text);
    ~Pass();
    // The next piece: a match, or what lies between two matches. Empty at the end. Throws RequestError when
    // the pattern needs more steps than allowed for this text.
    std::string_view next();

   private:
    const PreTokenizer& parent_;
    std::string_view text_;
    size_t at_ = 0;           // start of the next piece
    size_t match_begin_ = 0;  // a match found but not yet returned: [match_begin_, match_end_)
    size_t match_end_ = 0;
    void* match_data_;
  };

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace outrider::tokenizer

// From template text to tokens, with the white space control that transformers sets: trim_blocks and
// lstrip_blocks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "chat/jinja_value.h"

namespace outrider::chat::jinja {

struct Token {
  enum class Kind {
    kText,
    kPrintBegin,
    kPrintEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kSign,
    kEnd
  };
  Kind kind = Kind::kEnd;
  std::string text;  // of kText, kName, kString (decoded) and kSign
  Value number;      // of kInteger and kFloat
  int line = 1;
};

// Throws Error. The last token is kEnd.
std::vector<Token> tokenize(std::string_view source);

// "template line 3: ..."
[[noreturn]] void fail_at(int line, const std::string& what);

}  // namespace outrider::chat::jinja

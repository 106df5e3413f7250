// One run of text that may be tool calls, in either format.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

#include "chat/literal.h"
#include "chat/tool_parser.h"

namespace outrider::chat {

// "[f(a=1), g()]" or {"name": "f", "parameters": {...}} or a list of those. False, and `out` as it was, when
// the text is anything else or more than that.
bool parse_calls(std::string_view text, Syntax syntax, bool ensure_ascii, std::vector<ToolCall>& out);

enum class Head { kNo, kMaybe, kCalls };
// Whether text from its first bracket on may be calls: `kMaybe` when it is too short to tell.
Head pythonic_head(std::string_view text);
Head json_head(std::string_view text);

// Follows brackets and strings as text grows, to find where the first bracket closes, reading each byte once.
class BracketScanner {
 public:
  explicit BracketScanner(Syntax syntax) : syntax_(syntax) {}

  enum class State { kOpen, kClosed, kBroken };
  // `text` starts with the bracket and is what it was before with more behind it; `final`: no more will come.
  State scan(std::string_view text, bool final);
  // Bytes read: up to and with the closing bracket, or up to what broke it.
  size_t position() const { return at_; }

 private:
  bool scan_string(std::string_view text, bool final);  // false: needs more text
  bool scan_quote(std::string_view text, bool final);

  Syntax syntax_;
  size_t at_ = 0;
  std::array<char, LiteralReader::kMaxDepth> closers_;
  size_t depth_ = 0;
  char quote_ = '\0';  // inside a string
  bool triple_ = false;
};

}  // namespace outrider::chat

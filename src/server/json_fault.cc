// Repeats the walk of Python's json scanner over a text that is known to be broken, so that the error names
// the same place and reason. Depth is bounded by the caller (parse_body).
#include <cctype>

#include "server/json_text.h"

namespace outrider::server {
namespace {

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  JsonFault run() {
    skip_space();
    if (!value()) return fault_;
    skip_space();
    if (at_ < text_.size()) return {"Extra data", at_};
    return {"Expecting value", at_};
  }

 private:
  bool fail(std::string message, size_t offset) {
    fault_ = {std::move(message), offset};
    return false;
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (at_ < text_.size() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) ++at_;
  }

  bool value() {
    switch (peek()) {
      case '"':
        return string();
      case '{':
        return object();
      case '[':
        return array();
      default:
        break;
    }
    for (const std::string_view word : {"null", "true", "false"}) {
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return true;
      }
    }
    return number();
  }

  bool digits() {
    const size_t start = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ > start;
  }

  bool number() {
    const size_t start = at_;
    if (peek() == '-') ++at_;
    if (peek() == '0') {
      ++at_;
    } else if (!digits()) {
      at_ = start;
      return fail("Expecting value", start);
    }
    size_t end = at_;
    if (peek() == '.') {
      ++at_;
      if (!digits()) return rewind(end);
      end = at_;
    }
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      if (!digits()) return rewind(end);
    }
    return true;
  }

  // A number ends before a fraction or exponent without digits; what follows is judged by the caller.
  bool rewind(size_t end) {
    at_ = end;
    return true;
  }

  bool string() {
    const size_t start = at_++;
    while (at_ < text_.size()) {
      const auto byte = static_cast<unsigned char>(text_[at_]);
      if (byte == '"') {
        ++at_;
        return true;
      }
      if (byte < 0x20) return fail("Invalid control character at", at_);
      if (byte == '\\') {
        if (at_ + 1 >= text_.size()) break;
        if (!escape()) return false;
      } else {
        ++at_;
      }
    }
    return fail("Unterminated string starting at", start);
  }

  bool escape() {
    const size_t slash = at_;
    const char kind = text_[at_ + 1];
    if (std::string_view("\"\\/bfnrt").find(kind) != std::string_view::npos) {
      at_ += 2;
      return true;
    }
    if (kind != 'u') return fail("Invalid \\escape: ", slash);
    for (size_t i = 2; i < 6; ++i) {
      if (slash + i >= text_.size() || !std::isxdigit(static_cast<unsigned char>(text_[slash + i]))) {
        return fail("Invalid \\uXXXX escape", slash + 1);
      }
    }
    at_ += 6;
    return true;
  }

  bool object() {
    ++at_;
    skip_space();
    if (peek() == '}') return ++at_, true;
    while (true) {
      if (peek() != '"') return fail("Expecting property name enclosed in double quotes", at_);
      if (!string()) return false;
      skip_space();
      if (peek() != ':') return fail("Expecting ':' delimiter", at_);
      ++at_;
      skip_space();
      if (!value()) return false;
      skip_space();
      if (peek() == '}') return ++at_, true;
      if (peek() != ',') return fail("Expecting ',' delimiter", at_);
      ++at_;
      skip_space();
    }
  }

  bool array() {
    ++at_;
    skip_space();
    if (peek() == ']') return ++at_, true;
    while (true) {
      if (!value()) return false;
      skip_space();
      if (peek() == ']') return ++at_, true;
      if (peek() != ',') return fail("Expecting ',' delimiter", at_);
      ++at_;
      skip_space();
    }
  }

  std::string_view text_;
  size_t at_ = 0;
  JsonFault fault_;
};

}  // namespace

JsonFault find_json_fault(std::string_view text) { return Scanner(text).run(); }

}  // namespace outrider::server

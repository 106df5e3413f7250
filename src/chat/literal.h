// Reads values as a model writes them, in JSON or as Python literals, and writes them as Python's json.dumps
// would, without a tree in between: numbers of any length survive. Text is untrusted: nesting is bounded,
// time linear.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace outrider::chat {

enum class Syntax {
  kJson,    // strict but for raw control characters in strings, which models write
  kPython,  // literals, and also true, false and null
};

struct Member {
  std::string key;
  std::string json;  // the value
};

// Each function skips white space first. After one returned false the reader's position means nothing.
class LiteralReader {
 public:
  static constexpr int kMaxDepth = 64;

  LiteralReader(std::string_view text, Syntax syntax, bool ensure_ascii)
      : text_(text), syntax_(syntax), ensure_ascii_(ensure_ascii) {}

  bool value(std::string& out);  // appends its JSON
  // An object; of equal keys the last value counts, at the first's place.
  bool members(std::vector<Member>& out);
  bool string(std::string& out);  // appends what it stands for
  std::string_view word(
      std::string_view more_letters);  // ASCII letters, digits, _, bytes above 0x7F, more_letters
  bool take(char c);
  bool at_end();

 private:
  bool number(std::string& out);
  bool python_integer(std::string_view digits, bool negative, std::string& out);
  bool list(char close, std::string& out);
  bool object_key(std::string& out);
  bool quoted(bool raw, std::string& out);
  bool escape(std::string& out);
  bool hex(int digits, uint32_t& out);
  bool starts_string();
  void skip_space();
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  std::string_view text_;
  size_t at_ = 0;
  Syntax syntax_;
  bool ensure_ascii_;
  int depth_ = 0;
};

}  // namespace outrider::chat

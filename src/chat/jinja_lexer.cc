#include "chat/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "base/utf8.h"

namespace outrider::chat::jinja {
namespace {

using Kind = Token::Kind;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' || static_cast<uint8_t>(c) >= 0x80;
}
bool is_name_part(char c) { return is_name_start(c) || is_digit(c); }

// "\r\n" and "\r" become "\n"; one line end at the very end is dropped, as jinja2 does by default.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalized(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) text_and_opening();
    add(Kind::kEnd, {});
    return std::move(tokens_);
  }

 private:
  void text_and_opening();
  void strip_before(size_t begin, size_t opening, char sign, bool is_print);
  void comment();
  bool raw();
  void inside(Kind end);
  bool ending(Kind end);
  void token();
  void name();
  void number();
  void string(char quote);
  void escape(std::string& out);
  void sign();

  bool starts(std::string_view text, size_t at) const {
    return std::string_view(source_).substr(std::min(at, source_.size()), text.size()) == text;
  }
  void skip_space() {
    while (at_ < source_.size() && is_space(source_[at_])) advance(1);
  }
  void advance(size_t count) {
    line_ += static_cast<int>(std::count(source_.begin() + at_, source_.begin() + at_ + count, '\n'));
    at_ += count;
  }
  void add(Kind kind, std::string text, Value number = {}) {
    tokens_.push_back({kind, std::move(text), std::move(number), line_});
  }
  // After the sign and the two characters that end a block or comment.
  void after_block(char sign) {
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && starts("\n", at_)) {
      advance(1);
    }
  }
  char sign_at(size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0';
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  std::string closers_;  // of the brackets that are open inside {{ }} or {% %}
  std::vector<Token> tokens_;
};

void Lexer::text_and_opening() {
  const size_t begin = at_;
  size_t opening = begin;
  for (;; ++opening) {
    opening = source_.find('{', opening);
    if (opening == std::string::npos) break;
    if (starts("{{", opening) || starts("{%", opening) || starts("{#", opening)) break;
  }
  if (opening == std::string::npos) {
    add(Kind::kText, source_.substr(begin));
    at_ = source_.size();
    return;
  }
  const char kind = source_[opening + 1];
  const char sign = sign_at(opening + 2);
  strip_before(begin, opening, sign, kind == '{');
  advance(opening - at_);
  if (kind == '#') return comment();
  if (kind == '%' && raw()) return;
  add(kind == '{' ? Kind::kPrintBegin : Kind::kBlockBegin, {});
  advance(sign != '\0' ? 3 : 2);
  inside(kind == '{' ? Kind::kPrintEnd : Kind::kBlockEnd);
}

// Adds the text before an opening, less what its sign and lstrip_blocks take.
void Lexer::strip_before(size_t begin, size_t opening, char sign, bool is_print) {
  size_t end = opening;
  if (sign == '-') {
    while (end > begin && is_space(source_[end - 1])) --end;
  } else if (sign != '+' && !is_print) {
    size_t line = opening;
    while (line > begin && source_[line - 1] != '\n') --line;
    const bool at_line_start = line > 0 ? source_[line - 1] == '\n' : true;
    const bool blank = std::all_of(source_.begin() + line, source_.begin() + opening, is_space);
    if (at_line_start && blank) end = line;
  }
  if (end > begin) add(Kind::kText, source_.substr(begin, end - begin));
}

void Lexer::comment() {
  const size_t begin = at_ + (sign_at(at_ + 2) != '\0' ? 3 : 2);
  const size_t end = source_.find("#}", begin);
  if (end == std::string::npos) fail_at(line_, "a comment is not ended by #}");
  const char sign = end > begin ? sign_at(end - 1) : '\0';
  advance(end + 2 - at_);
  after_block(sign);
}

// {% raw %} ... {% endraw %}; false when the block at hand is another.
bool Lexer::raw() {
  size_t at = at_ + 2;
  if (sign_at(at) != '\0') ++at;
  const auto spaces = [&] {
    while (at < source_.size() && is_space(source_[at])) ++at;
  };
  spaces();
  if (!starts("raw", at)) return false;
  at += 3;
  spaces();
  const bool strip = starts("-%}", at);
  if (!strip && !starts("%}", at)) return false;
  advance(at + (strip ? 3 : 2) - at_);
  if (strip) skip_space();
  for (size_t opening = at_;; opening += 2) {
    opening = source_.find("{%", opening);
    if (opening == std::string::npos) fail_at(line_, "raw is not ended by endraw");
    at = opening + 2;
    const char before = sign_at(at);
    if (before != '\0') ++at;
    spaces();
    if (!starts("endraw", at)) continue;
    at += 6;
    spaces();
    const char after = sign_at(at);
    if (after != '\0') ++at;
    if (!starts("%}", at)) continue;
    strip_before(at_, opening, before, false);
    advance(at + 2 - at_);
    after_block(after);
    return true;
  }
}

void Lexer::inside(Kind end) {
  closers_.clear();
  for (;;) {
    skip_space();
    if (at_ >= source_.size())
      fail_at(line_, end == Kind::kPrintEnd ? "{{ is not closed" : "{% is not closed");
    if (closers_.empty() && ending(end)) return;
    token();
  }
}

bool Lexer::ending(Kind end) {
  const bool is_print = end == Kind::kPrintEnd;
  const std::string_view close = is_print ? "}}" : "%}";
  char sign = sign_at(at_);
  if (is_print && sign == '+') sign = '\0';
  if (!starts(close, at_ + (sign != '\0' ? 1 : 0))) return false;
  add(end, {});
  advance(sign != '\0' ? 3 : 2);
  if (is_print) {
    if (sign == '-') skip_space();
  } else {
    after_block(sign);
  }
  return true;
}

void Lexer::token() {
  const char c = source_[at_];
  if (is_digit(c)) return number();
  if (is_name_start(c)) return name();
  if (c == '\'' || c == '"') return string(c);
  sign();
}

void Lexer::name() {
  size_t end = at_;
  while (end < source_.size() && is_name_part(source_[end])) ++end;
  add(Kind::kName, source_.substr(at_, end - at_));
  advance(end - at_);
}

void Lexer::number() {
  // A name's dot does not start a fraction: `a.0.5` is no number.
  const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
  std::string digits;
  size_t at = at_;
  const auto take = [&] {
    while (at < source_.size() && (is_digit(source_[at]) || (source_[at] == '_' && at + 1 < source_.size() &&
                                                             is_digit(source_[at + 1])))) {
      if (source_[at] != '_') digits += source_[at];
      ++at;
    }
  };
  take();
  bool is_float = false;
  const auto digit_at = [&](size_t i) { return i < source_.size() && is_digit(source_[i]); };
  if (!after_dot && starts(".", at) && digit_at(at + 1)) {
    digits += '.';
    ++at;
    take();
    is_float = true;
  }
  if (!after_dot && at < source_.size() && (source_[at] == 'e' || source_[at] == 'E')) {
    const size_t exponent = at + 1 + (sign_at(at + 1) != '\0' ? 1 : 0);
    if (digit_at(exponent)) {
      digits.append(source_, at, exponent - at);
      at = exponent;
      take();
      is_float = true;
    }
  }
  if (is_float) {
    double value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    add(Kind::kFloat, {}, value);
  } else {
    int64_t value = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), value).ec != std::errc()) {
      fail_at(line_, "the number " + digits.substr(0, 40) + " is too large");
    }
    add(Kind::kInteger, {}, Value(Integer{value}));
  }
  advance(at - at_);
}

void Lexer::string(char quote) {
  std::string text;
  const int line = line_;
  advance(1);
  for (;;) {
    if (at_ >= source_.size()) fail_at(line, "a string is not closed");
    const char c = source_[at_];
    if (c == quote) break;
    if (c == '\\') {
      escape(text);
    } else {
      text += c;
      advance(1);
    }
  }
  advance(1);
  add(Kind::kString, std::move(text));
}

// Python's escapes. Those that mean nothing stay as they are.
void Lexer::escape(std::string& out) {
  if (at_ + 1 >= source_.size()) fail_at(line_, "a string is not closed");
  const char c = source_[at_ + 1];
  constexpr std::string_view kLetters = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
  const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  uint32_t code = 0;
  if (const size_t letter = kLetters.find(c); letter != std::string_view::npos) {
    out += kMeanings[letter];
    return advance(2);
  }
  if (c == '\n') return advance(2);
  if (digits > 0) {
    const char* begin = source_.data() + at_ + 2;
    const char* end = begin + std::min(digits, source_.size() - at_ - 2);
    const auto [stop, error] = std::from_chars(begin, end, code, 16);
    if (error != std::errc() || stop != begin + digits || code > 0x10FFFF) {
      fail_at(line_, "a broken escape sequence in a string");
    }
    append_utf8(out, code);
    return advance(2 + digits);
  }
  if (c >= '0' && c <= '7') {
    size_t length = 0;
    while (length < 3 && at_ + 1 + length < source_.size() && source_[at_ + 1 + length] >= '0' &&
           source_[at_ + 1 + length] <= '7') {
      code = code * 8 + static_cast<uint32_t>(source_[at_ + 1 + length++] - '0');
    }
    append_utf8(out, code);
    return advance(1 + length);
  }
  out += '\\';
  advance(1);
}

void Lexer::sign() {
  constexpr std::array<std::string_view, 6> kTwo = {"//", "**", "==", "!=", "<=", ">="};
  constexpr std::string_view kOne = "+-/*%~[](){}<>=.:|,";
  std::string text;
  for (const std::string_view two : kTwo) {
    if (starts(two, at_)) text = two;
  }
  if (text.empty() && kOne.find(source_[at_]) != std::string_view::npos) text = source_[at_];
  if (text.empty()) fail_at(line_, std::string("unexpected character '") + source_[at_] + "'");
  const char c = text[0];
  if (c == '(' || c == '[' || c == '{') {
    closers_ += c == '(' ? ')' : c == '[' ? ']' : '}';
  } else if (c == ')' || c == ']' || c == '}') {
    if (closers_.empty() || closers_.back() != c) fail_at(line_, "unexpected '" + text + "'");
    closers_.pop_back();
  }
  add(Kind::kSign, text);
  advance(text.size());
}

}  // namespace

void fail_at(int line, const std::string& what) {
  throw Error("template line " + std::to_string(line) + ": " + what);
}

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace outrider::chat::jinja

#include "chat/literal.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <unordered_map>

#include "base/json_string.h"
#include "base/python_float.h"
#include "base/utf8.h"

namespace outrider::chat {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_word_byte(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<uint8_t>(c) >= 0x80;
}

void append_members(const std::vector<Member>& members, bool ensure_ascii, std::string& out) {
  out += '{';
  for (const Member& member : members) {
    if (&member != members.data()) out += ", ";
    append_json_string(out, member.key, ensure_ascii);
    out += ": " + member.json;
  }
  out += '}';
}

}  // namespace

void LiteralReader::skip_space() {
  while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
}

bool LiteralReader::take(char c) {
  skip_space();
  if (at_ == text_.size() || text_[at_] != c) return false;
  ++at_;
  return true;
}

bool LiteralReader::at_end() {
  skip_space();
  return at_ == text_.size();
}

std::string_view LiteralReader::word(std::string_view more_letters) {
  skip_space();
  const size_t begin = at_;
  while (at_ < text_.size() &&
         (is_word_byte(text_[at_]) || more_letters.find(text_[at_]) != std::string_view::npos)) {
    ++at_;
  }
  return text_.substr(begin, at_ - begin);
}

bool LiteralReader::value(std::string& out) {
  skip_space();
  const char c = peek();
  if (starts_string()) {
    std::string text;
    if (!string(text)) return false;
    append_json_string(out, text, ensure_ascii_);
    return true;
  }
  if (is_digit(c) || c == '-' || c == '+' || c == '.') return number(out);
  if (c == '{') {
    std::vector<Member> object;
    if (!members(object)) return false;
    append_members(object, ensure_ascii_, out);
    return true;
  }
  if (c == '[') return list(']', out);
  if (c == '(' && syntax_ == Syntax::kPython) return list(')', out);
  const std::string_view name = word("");
  const bool python = syntax_ == Syntax::kPython;
  if (name == "true" || (python && name == "True")) {
    out += "true";
  } else if (name == "false" || (python && name == "False")) {
    out += "false";
  } else if (name == "null" || (python && name == "None")) {
    out += "null";
  } else {
    return false;
  }
  return true;
}

bool LiteralReader::number(std::string& out) {
  const bool python = syntax_ == Syntax::kPython;
  bool negative = false;
  if (peek() == '-' || (python && peek() == '+')) {
    negative = text_[at_++] == '-';
    if (python) skip_space();
  }
  // Everything that can belong to a number, then a check of its form.
  std::string spelling;
  bool is_float = false;
  const size_t begin = at_;
  const bool based = python && peek() == '0' && is_word_byte(peek(1)) && !is_digit(peek(1)) &&
                     peek(1) != 'e' && peek(1) != 'E' && peek(1) != '_';
  while (is_word_byte(peek()) || peek() == '.' ||
         ((peek() == '+' || peek() == '-') && !based && at_ > begin &&
          (text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E'))) {
    const char c = text_[at_++];
    if (python && c == '_' && is_digit(peek())) continue;
    is_float |= c == '.' || c == 'e' || c == 'E';
    spelling += c;
  }
  if (based || !is_float) return python_integer(spelling, negative, out);
  const size_t whole = std::min(spelling.find_first_of(".eE"), spelling.size());
  const bool leading_zero = whole > 1 && spelling[0] == '0';
  const bool bare_point =
      whole == 0 || (spelling[whole] == '.' && !is_digit(spelling[std::min(whole + 1, spelling.size() - 1)]));
  if (!python && (leading_zero || bare_point)) return false;
  double parsed = 0;
  const char* end = spelling.data() + spelling.size();
  const auto result = std::from_chars(spelling.data(), end, parsed);
  if (result.ec != std::errc() || result.ptr != end) return false;
  out += python_float(negative ? -parsed : parsed);
  return true;
}

// Decimal digits of any number, or in Python 0x, 0o and 0b of up to 64 bits.
bool LiteralReader::python_integer(std::string_view digits, bool negative, std::string& out) {
  if (digits.empty()) return false;
  std::string decimal;
  if (digits.size() > 2 && digits[0] == '0' && !is_digit(digits[1])) {
    const char letter = static_cast<char>(digits[1] | 0x20);
    const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    uint64_t parsed = 0;
    const char* end = digits.data() + digits.size();
    if (base == 0) return false;
    const auto result = std::from_chars(digits.data() + 2, end, parsed, base);
    if (result.ec != std::errc() || result.ptr != end) return false;
    decimal = std::to_string(parsed);
  } else {
    if (!std::all_of(digits.begin(), digits.end(), is_digit)) return false;
    if (digits.size() > 1 && digits[0] == '0') return false;
    decimal = digits;
  }
  if (negative && decimal != "0") out += '-';
  out += decimal;
  return true;
}

// A list or tuple, both lists in JSON; one value in parentheses is that value.
bool LiteralReader::list(char close, std::string& out) {
  ++at_;
  if (++depth_ > kMaxDepth) return false;
  std::string items;
  int count = 0;
  bool comma = true;
  while (!take(close)) {
    if (!comma) return false;
    if (count > 0) items += ", ";
    if (!value(items)) return false;
    ++count;
    comma = take(',');
  }
  if (syntax_ == Syntax::kJson && comma && count > 0) return false;
  --depth_;
  if (close == ')' && count == 1 && !comma) {
    out += items;
  } else {
    out += "[" + items + "]";
  }
  return true;
}

bool LiteralReader::object_key(std::string& out) {
  skip_space();
  if (starts_string()) return string(out);
  // json.dumps makes texts of the other scalar keys.
  return syntax_ == Syntax::kPython && value(out) && out[0] != '[' && out[0] != '{';
}

bool LiteralReader::members(std::vector<Member>& out) {
  if (!take('{') || ++depth_ > kMaxDepth) return false;
  std::unordered_map<std::string, size_t> index;
  bool comma = true;
  while (!take('}')) {
    Member member;
    if (!comma || !object_key(member.key) || !take(':') || !value(member.json)) return false;
    const auto [place, is_new] = index.emplace(member.key, out.size());
    if (is_new) {
      out.push_back(std::move(member));
    } else {
      out[place->second].json = std::move(member.json);
    }
    comma = take(',');
  }
  --depth_;
  return syntax_ == Syntax::kPython || !comma || out.empty();
}

bool LiteralReader::starts_string() {
  if (peek() == '"') return true;
  if (syntax_ == Syntax::kJson) return false;
  const bool prefix = std::string_view("rRuU").find(peek()) != std::string_view::npos && peek() != '\0';
  const char quote = prefix ? peek(1) : peek();
  return quote == '"' || quote == '\'';
}

bool LiteralReader::string(std::string& out) {
  skip_space();
  if (!starts_string()) return false;
  while (starts_string()) {
    const bool prefixed = peek() != '"' && peek() != '\'';
    const bool raw = peek() == 'r' || peek() == 'R';
    if (prefixed) ++at_;
    if (!quoted(raw, out)) return false;
    if (syntax_ == Syntax::kJson) return true;
    skip_space();  // Python joins neighbouring strings
  }
  return true;
}

bool LiteralReader::quoted(bool raw, std::string& out) {
  const char quote = text_[at_];
  const std::string_view triple(text_.substr(at_, 3));
  const bool is_triple = syntax_ == Syntax::kPython && triple == std::string(3, quote);
  const std::string_view closing = is_triple ? triple : triple.substr(0, 1);
  at_ += closing.size();
  while (at_ < text_.size()) {
    if (text_.substr(at_, closing.size()) == closing) {
      at_ += closing.size();
      return true;
    }
    if (text_[at_] != '\\') {
      out += text_[at_++];
    } else if (raw) {
      out += text_.substr(at_, 2);
      at_ += 2;
    } else if (!escape(out)) {
      return false;
    }
  }
  return false;
}

bool LiteralReader::hex(int digits, uint32_t& out) {
  const std::string_view spelling = text_.substr(std::min(at_, text_.size()), digits);
  const char* end = spelling.data() + spelling.size();
  const auto result = std::from_chars(spelling.data(), end, out, 16);
  if (spelling.size() != static_cast<size_t>(digits) || result.ec != std::errc() || result.ptr != end)
    return false;
  at_ += digits;
  return out <= 0x10FFFF;
}

bool LiteralReader::escape(std::string& out) {
  const char c = peek(1);
  at_ += 2;
  const size_t simple = std::string_view("\"\\/bfnrtav0'\n").find(c);
  const bool python = syntax_ == Syntax::kPython;
  uint32_t code = 0;
  if (c == 'u') {
    if (!hex(4, code)) return false;
    uint32_t low = 0;
    if (code >= 0xD800 && code < 0xDC00 && peek() == '\\' && peek(1) == 'u') {
      const size_t before = at_;
      at_ += 2;
      if (hex(4, low) && low >= 0xDC00 && low < 0xE000) {
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      } else {
        at_ = before;
      }
    }
  } else if (python && (c == 'x' || c == 'U')) {
    if (!hex(c == 'x' ? 2 : 8, code)) return false;
  } else if (python && c >= '0' && c <= '7') {
    code = c - '0';
    for (int i = 0; i < 2 && peek() >= '0' && peek() <= '7'; ++i) code = code * 8 + (text_[at_++] - '0');
  } else if (python && c == '\n') {
    return true;
  } else if (simple < (python ? 12 : 8) && !(python && c == '/')) {
    code = static_cast<uint8_t>("\"\\/\b\f\n\r\t\a\v\0'"[simple]);
  } else {
    // Python keeps the backslash of an escape that it does not know; \N{NAME} needs a table of names.
    if (!python || c == 'N' || at_ > text_.size()) return false;
    out += {'\\', c};
    return true;
  }
  append_utf8(out, code);
  return true;
}

}  // namespace outrider::chat

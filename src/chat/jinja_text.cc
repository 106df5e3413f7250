#include "chat/jinja_text.h"

#include <algorithm>

#include "base/text.h"
#include "base/utf8.h"

namespace outrider::chat::jinja {
namespace {

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
char to_upper(char c) { return is_lower(c) ? static_cast<char>(c - 32) : c; }

// str.isspace() of one character.
bool is_python_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

// Length of the character that ends `text`, and its code point.
Utf8Step last_step(std::string_view text) {
  size_t length = 1;
  while (length < std::min<size_t>(4, text.size()) &&
         (static_cast<uint8_t>(text[text.size() - length]) & 0xC0) == 0x80) {
    ++length;
  }
  const Utf8Step step = utf8_step(text.substr(text.size() - length));
  if (step.length == length) return step;
  return {Utf8Step::Kind::kInvalid, 1, kReplacementCodePoint};  // a byte behind the character
}

bool is_one_of(std::string_view character, uint32_t code_point, std::optional<std::string_view> characters) {
  if (!characters) return is_python_space(code_point);
  for (std::string_view rest = *characters; !rest.empty();) {
    const size_t length = utf8_step(rest).length;
    if (rest.substr(0, length) == character) return true;
    rest.remove_prefix(length);
  }
  return false;
}

// Words between white space, with where they begin and end.
std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> out;
  size_t begin = 0;
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text.substr(at, 4));
    const bool space = is_python_space(step.code_point);
    if (space && in_word) out.push_back(text.substr(begin, at - begin));
    if (!space && !in_word) begin = at;
    in_word = !space;
    at += step.length;
  }
  if (in_word) out.push_back(text.substr(begin));
  return out;
}

}  // namespace

std::string_view strip(std::string_view text, Side side, std::optional<std::string_view> characters) {
  while (side != Side::kRight && !text.empty()) {
    const Utf8Step step = utf8_step(text.substr(0, 4));
    if (!is_one_of(text.substr(0, step.length), step.code_point, characters)) break;
    text.remove_prefix(step.length);
  }
  while (side != Side::kLeft && !text.empty()) {
    const Utf8Step step = last_step(text);
    if (!is_one_of(text.substr(text.size() - step.length), step.code_point, characters)) break;
    text.remove_suffix(step.length);
  }
  return text;
}

std::string upper(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), to_upper);
  return out;
}

std::string capitalize(std::string_view text) {
  std::string out = lower_case(text);
  if (!out.empty()) out[0] = to_upper(out[0]);
  return out;
}

std::string title(std::string_view text) {
  std::string out(text);
  bool in_word = false;
  for (char& c : out) {
    c = in_word ? lower_case(c) : to_upper(c);
    in_word = is_lower(c) || is_upper(c) || static_cast<uint8_t>(c) >= 0x80;
  }
  return out;
}

std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator,
                                    int64_t limit) {
  std::vector<std::string_view> out;
  if (!separator) {
    const std::vector<std::string_view> all = words(text);
    for (size_t i = 0; i < all.size(); ++i) {
      if (limit >= 0 && static_cast<int64_t>(i) == limit) {
        out.push_back(strip(text.substr(static_cast<size_t>(all[i].data() - text.data())), Side::kLeft, {}));
        return out;
      }
      out.push_back(all[i]);
    }
    return out;
  }
  while (limit < 0 || static_cast<int64_t>(out.size()) < limit) {
    const size_t found = text.find(*separator);
    if (found == std::string_view::npos) break;
    out.push_back(text.substr(0, found));
    text.remove_prefix(found + separator->size());
  }
  out.push_back(text);
  return out;
}

std::vector<std::string_view> split_right(std::string_view text, std::optional<std::string_view> separator,
                                          int64_t limit) {
  std::vector<std::string_view> out;
  if (!separator) {
    out = words(text);
    if (limit >= 0 && static_cast<int64_t>(out.size()) > limit) {
      const size_t joined = out.size() - static_cast<size_t>(limit);
      const char* end = out[joined - 1].data() + out[joined - 1].size();
      out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(joined));
      const std::string_view rest(text.data(), static_cast<size_t>(end - text.data()));
      out.insert(out.begin(), strip(rest, Side::kRight, {}));
    }
    return out;
  }
  while (limit < 0 || static_cast<int64_t>(out.size()) < limit) {
    const size_t found = text.rfind(*separator);
    if (found == std::string_view::npos) break;
    out.push_back(text.substr(found + separator->size()));
    text = text.substr(0, found);
  }
  out.push_back(text);
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> out;
  const auto ends_line = [](uint32_t c) {
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
  };
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text.substr(at, 4));
    size_t end = at + step.length;
    if (ends_line(step.code_point)) {
      if (step.code_point == '\r' && end < text.size() && text[end] == '\n') ++end;
      out.push_back(text.substr(begin, (keep_ends ? end : at) - begin));
      begin = end;
    }
    at = end;
  }
  if (begin < text.size()) out.push_back(text.substr(begin));
  return out;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t limit) {
  std::string out;
  int64_t count = 0;
  if (from.empty()) {
    while (limit < 0 || count < limit) {
      out += to;
      ++count;
      if (text.empty()) return out;
      const size_t length = utf8_step(text).length;
      out += text.substr(0, length);
      text.remove_prefix(length);
    }
    return out.append(text);
  }
  while (limit < 0 || count++ < limit) {
    const size_t found = text.find(from);
    if (found == std::string_view::npos) break;
    out += text.substr(0, found);
    out += to;
    text.remove_prefix(found + from.size());
  }
  return out.append(text);
}

}  // namespace outrider::chat::jinja

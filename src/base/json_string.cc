#include "base/json_string.h"

#include "base/text.h"
#include "base/utf8.h"

namespace outrider {
namespace {

void append_code_unit(std::string& out, uint32_t code_unit) {
  out += "\\u";
  append_hex(out, code_unit, 4);
}

void append_code_point(std::string& out, uint32_t code_point) {
  if (code_point < 0x10000) return append_code_unit(out, code_point);
  append_code_unit(out, 0xD800 + ((code_point - 0x10000) >> 10));
  append_code_unit(out, 0xDC00 + ((code_point - 0x10000) & 0x3FF));
}

// The letter of a two-character escape, 0 when there is none.
char short_escape(char c) {
  switch (c) {
    case '"':
    case '\\':
      return c;
    case '\b':
      return 'b';
    case '\f':
      return 'f';
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    default:
      return 0;
  }
}

}  // namespace

void append_json_string(std::string& out, std::string_view text, bool ensure_ascii) {
  out += '"';
  size_t copied = 0;  // text[copied, at) needs no escape
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const Utf8Step step = utf8_step(text.substr(at));
    const bool plain = byte < 0x80
                           ? byte >= 0x20 && byte != '"' && byte != '\\' && (byte < 0x7F || !ensure_ascii)
                           : step.kind == Utf8Step::Kind::kCharacter && !ensure_ascii;
    if (plain) {
      at += step.length;
      continue;
    }
    out.append(text, copied, at - copied);
    if (const char letter = short_escape(text[at])) {
      out += {'\\', letter};
    } else if (byte < 0x20 || ensure_ascii) {
      append_code_point(out, step.code_point);
    } else {
      out += kReplacementCharacter;
    }
    at += step.length;
    copied = at;
  }
  out.append(text, copied);
  out += '"';
}

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

}  // namespace outrider

#include "base/python_repr.h"

#include "base/python_float.h"
#include "base/text.h"
#include "base/utf8.h"

namespace outrider {
namespace {

using Json = nlohmann::ordered_json;

bool is_continuation(std::string_view text, size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
}

// What Python's repr does not print as it is, as far as it matters in practice.
bool is_printable(uint32_t c) {
  return c >= 0x20 && !(c >= 0x7F && c <= 0xA0) && c != 0xAD && !(c >= 0x2000 && c <= 0x200F) &&
         !(c >= 0x2028 && c <= 0x202F) && c != 0x3000 && c != 0xFEFF;
}

void append_python(std::string& out, const Json& value, size_t limit) {
  if (out.size() > limit) return;
  switch (value.type()) {
    case Json::value_t::null:
      out += "None";
      break;
    case Json::value_t::boolean:
      out += value.get<bool>() ? "True" : "False";
      break;
    case Json::value_t::number_float:
      append_python_float(out, value.get<double>());
      break;
    case Json::value_t::string:
      append_python_string(out, value.get_ref<const std::string&>());
      break;
    case Json::value_t::array: {
      out += '[';
      bool first = true;
      for (const Json& item : value) {
        if (out.size() > limit) return;
        if (!first) out += ", ";
        first = false;
        append_python(out, item, limit);
      }
      out += ']';
      break;
    }
    case Json::value_t::object: {
      out += '{';
      bool first = true;
      for (const auto& [key, item] : value.items()) {
        if (out.size() > limit) return;
        if (!first) out += ", ";
        first = false;
        append_python_string(out, key);
        out += ": ";
        append_python(out, item, limit);
      }
      out += '}';
      break;
    }
    default:
      out += value.dump();
      break;  // integers
  }
}

}  // namespace

void append_python_string(std::string& out, std::string_view text) {
  const bool doubles = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = doubles ? '"' : '\'';
  out += quote;
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    const uint32_t c = step.code_point;
    if (c == static_cast<uint32_t>(quote) || c == '\\') {
      out += {'\\', static_cast<char>(c)};
    } else if (c == '\n' || c == '\t' || c == '\r') {
      out += {'\\', c == '\n' ? 'n' : c == '\t' ? 't' : 'r'};
    } else if (!is_printable(c)) {
      out += c < 0x100 ? "\\x" : "\\u";
      append_hex(out, c, c < 0x100 ? 2 : 4);
    } else {
      append_utf8(out, c);
    }
    text.remove_prefix(step.length);
  }
  out += quote;
}

std::string python_string(std::string_view text) {
  std::string out;
  append_python_string(out, text);
  return out;
}

std::string python_repr(const Json& value, size_t limit) {
  std::string out;
  append_python(out, value, limit);
  if (out.size() > limit) {
    while (limit > 0 && is_continuation(out, limit)) --limit;  // whole characters only
    out.resize(limit);
    out += "...";
  }
  return out;
}

}  // namespace outrider

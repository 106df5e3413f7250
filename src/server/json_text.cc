#include "server/json_text.h"

#include "base/error.h"
#include "base/python_float.h"
#include "base/text.h"
#include "base/utf8.h"

namespace outrider::server {
namespace {

bool is_continuation(std::string_view text, size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
}

// Bytes of the character at text[at]; 0 where there is none.
size_t character_length(std::string_view text, size_t at) {
  const Utf8Step step = utf8_step(text.substr(at));
  return step.kind == Utf8Step::Kind::kCharacter ? step.length : 0;
}

void append_control(std::string& out, unsigned char byte) {
  switch (byte) {
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    default:
      break;
  }
  out += "\\u";
  append_hex(out, byte, 4);
}

// Python quotes with ' unless the text holds ' and no ".
void append_python_string(std::string& out, std::string_view text) {
  const bool doubles = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = doubles ? '"' : '\'';
  out += quote;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\x";
      append_hex(out, byte, 2);
    } else {
      out += c;
    }
  }
  out += quote;
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

size_t count_characters(std::string_view utf8) {
  size_t count = 0;
  for (const char c : utf8) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

void append_string(std::string& out, std::string_view text) {
  out += '"';
  size_t copied = 0;  // text[copied, at) needs no escape
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const size_t length = byte < 0x80 ? 1 : character_length(text, at);
    if (length > 0 && byte >= 0x20 && byte != '"' && byte != '\\') {
      at += length;
      continue;
    }
    out.append(text, copied, at - copied);
    if (length == 0) {
      out += kReplacementCharacter;
    } else if (byte == '"' || byte == '\\') {
      out += '\\';
      out += text[at];
    } else {
      append_control(out, byte);
    }
    copied = ++at;
  }
  out.append(text, copied);
  out += '"';
}

std::string json_string(std::string_view text) {
  std::string out;
  append_string(out, text);
  return out;
}

void append_ids(std::string& out, std::span<const int32_t> ids) {
  out += '[';
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += ',';
    out += std::to_string(ids[i]);
  }
  out += ']';
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

namespace {

bool is_too_deep(std::string_view body, int max_depth) {
  int depth = 0;
  bool in_string = false;
  for (size_t at = 0; at < body.size(); ++at) {
    const char c = body[at];
    if (in_string) {
      if (c == '\\') ++at;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > max_depth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

RequestError json_invalid(std::string_view body, const JsonFault& fault) {
  const size_t characters = count_characters(body.substr(0, fault.offset));
  return RequestError("[{'type': 'json_invalid', 'loc': ('body', " + std::to_string(characters) +
                          "), 'msg': 'JSON decode error', 'input': {}, 'ctx': {'error': " +
                          python_repr(Json(fault.message)) + "}}]",
                      "Bad Request");
}

}  // namespace

Json parse_body(std::string_view body, int max_depth) {
  if (body.empty()) {
    throw RequestError("[{'type': 'missing', 'loc': ('body',), 'msg': 'Field required', 'input': None}]",
                       "Bad Request");
  }
  if (!is_valid_utf8(body)) throw RequestError("The request body is not valid UTF-8.", "Bad Request");
  if (is_too_deep(body, max_depth)) {
    throw RequestError("The request body is nested more than " + std::to_string(max_depth) + " levels deep.",
                       "Bad Request");
  }
  Json value = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) throw json_invalid(body, find_json_fault(body));
  if (!value.is_object()) {
    throw RequestError(
        "[{'type': 'model_attributes_type', 'loc': ('body',), 'msg': 'Input should be a valid "
        "dictionary or object to extract fields from', 'input': " +
            python_repr(value, 200) + "}]",
        "Bad Request");
  }
  return value;
}

}  // namespace outrider::server

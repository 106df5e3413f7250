#include "server/json_text.h"

#include "base/error.h"
#include "base/python_repr.h"
#include "base/utf8.h"

namespace outrider::server {

size_t count_characters(std::string_view utf8) {
  size_t count = 0;
  for (const char c : utf8) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

void append_ids(std::string& out, std::span<const int32_t> ids) {
  out += '[';
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += ',';
    out += std::to_string(ids[i]);
  }
  out += ']';
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
                          python_string(fault.message) + "}}]",
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

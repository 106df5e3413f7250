// JSON and Python spellings of values, appended to a growing text. Replies are written field by field, in the
// order that clients of vLLM see; no tree is built for them.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

namespace outrider::server {

using Json = nlohmann::ordered_json;

// Quoted; invalid UTF-8 becomes U+FFFD, non-ASCII stays as it is.
void append_string(std::string& out, std::string_view text);
std::string json_string(std::string_view text);

// [1,2,3]
void append_ids(std::string& out, std::span<const int32_t> ids);

// Python's repr of a JSON value: None, True, 'text', {'a': [1]}. Cut at `limit` bytes with "...".
std::string python_repr(const Json& value, size_t limit = 2000);

// Characters (code points) of valid UTF-8.
size_t count_characters(std::string_view utf8);

// Parses a request body. Throws RequestError in vLLM's form for broken JSON, invalid UTF-8, more than
// `max_depth` nested brackets, or a value that is not an object.
Json parse_body(std::string_view body, int max_depth);

// Where Python's json.loads would stop reading `text` and why: its message and character offset.
struct JsonFault {
  std::string message;
  size_t offset = 0;
};
JsonFault find_json_fault(std::string_view text);

}  // namespace outrider::server

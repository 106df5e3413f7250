// JSON of requests and replies. Replies are appended field by field to a growing text, in the order that
// clients of vLLM see; no tree is built for them.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

namespace outrider::server {

using Json = nlohmann::ordered_json;

// [1,2,3]
void append_ids(std::string& out, std::span<const int32_t> ids);

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

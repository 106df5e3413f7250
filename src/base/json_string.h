// The one spelling of strings in JSON: replies, prompts and reports take it from here.
#pragma once

#include <string>
#include <string_view>

namespace outrider {

// With its quotes and escaped as Python's json.dumps does: `ensure_ascii` writes what is not ASCII as \uXXXX,
// otherwise it stays as it is. What is not UTF-8 in `text` becomes U+FFFD.
void append_json_string(std::string& out, std::string_view text, bool ensure_ascii = false);
std::string json_string(std::string_view text);

}  // namespace outrider

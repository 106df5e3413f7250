// Python's repr, in which vLLM's messages quote what they were given.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace outrider {

// 'text', or "text" where it holds ' and no ". What is not UTF-8 becomes U+FFFD, what does not print an
// escape.
void append_python_string(std::string& out, std::string_view text);
std::string python_string(std::string_view text);

// None, True, 'text', {'a': [1]}. Cut at `limit` bytes with "...".
std::string python_repr(const nlohmann::ordered_json& value, size_t limit = SIZE_MAX);

}  // namespace outrider

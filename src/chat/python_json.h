// Python's json.dumps of strings.
#pragma once

#include <string>
#include <string_view>

namespace outrider::chat {

// With its quotes. What is not UTF-8 in `text` becomes U+FFFD.
void append_python_string(std::string& out, std::string_view text, bool ensure_ascii);

}  // namespace outrider::chat

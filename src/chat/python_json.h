// Python's spelling of JSON values, piece by piece.
#pragma once

#include <string>
#include <string_view>

namespace outrider::chat {

// With its quotes. What is not UTF-8 in `text` becomes U+FFFD.
void append_python_string(std::string& out, std::string_view text, bool ensure_ascii);

// repr(value): the shortest digits that read back as `value`, exponents below -4 and from 16 on.
std::string python_float(double value);

}  // namespace outrider::chat

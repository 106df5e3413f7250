// The spelling of bytes in a byte-level vocabulary: printable Latin-1 bytes stand for themselves, the others
// for U+0100, U+0101, ... in order of the byte. Source: GPT-2's encoder, bytes_to_unicode.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace outrider::tokenizer {

// Bytes that `spelling` stands for; none when a character is not in the alphabet (or not UTF-8).
std::optional<std::string> bytes_from_spelling(std::string_view spelling);
std::string spelling_from_bytes(std::string_view bytes);

}  // namespace outrider::tokenizer

// Python's functions on text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace outrider::chat::jinja {

enum class Side { kBoth, kLeft, kRight };
// str.strip(), lstrip(), rstrip(); `characters` absent: white space.
std::string_view strip(std::string_view text, Side side, std::optional<std::string_view> characters);

// Letters outside ASCII stay as they are; str.lower() is lower_case() of base/text.h.
std::string upper(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);  // str.title(): a word starts after anything that is no letter

// str.split(); `separator` absent: runs of white space. `limit` negative: none.
std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator,
                                    int64_t limit);
std::vector<std::string_view> split_right(std::string_view text, std::optional<std::string_view> separator,
                                          int64_t limit);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

// str.replace(); `limit` negative: all.
std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t limit);

}  // namespace outrider::chat::jinja

// From template text to its tree.
#pragma once

#include <string_view>

#include "chat/jinja_tree.h"

namespace outrider::chat::jinja {

// Throws Error with the line. Unknown filters, tests and statements are refused here; the depth of the tree
// is bounded, because it is walked recursively.
Statements parse(std::string_view source);

}  // namespace outrider::chat::jinja

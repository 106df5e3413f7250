// The known name that a misspelt one probably meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace outrider::config {

// Empty when nothing is near: more than a third of the letters would have to change.
std::string nearest_name(std::string_view word, const std::vector<std::string>& names);

}  // namespace outrider::config

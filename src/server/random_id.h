// Names for requests, tool calls and the like: 32 random hex digits, which --seed does not repeat.
#pragma once

#include <string>

namespace outrider::server {

std::string random_id();

}  // namespace outrider::server

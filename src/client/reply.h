// What a server's JSON says, whatever it is.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace outrider::client {

// One line of valid UTF-8, cut where it is long.
std::string shortened(std::string_view text);

// Null where there is none, or it is null.
const nlohmann::json* member(const nlohmann::json& object, const char* name);

// Empty when `body` names no error.
std::string message_of(const nlohmann::json& body);

// What the body of an error answer says: its message, else its beginning.
std::string error_message(std::string_view body);

}  // namespace outrider::client

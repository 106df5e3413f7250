#include "client/reply.h"

#include <nlohmann/json.hpp>

#include "base/utf8.h"

namespace outrider::client {

using nlohmann::json;

namespace {

constexpr size_t kMaxMessageBytes = 300;

}  // namespace

std::string shortened(std::string_view text) {
  std::string line = to_valid_utf8(text.substr(0, kMaxMessageBytes));
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return text.size() > kMaxMessageBytes ? line + "..." : line;
}

const json* member(const json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// OpenAI's {"error": {"message": ...}}, and the older {"object": "error", "message": ...}.
std::string message_of(const json& body) {
  const json* error = member(body, "error");
  if (error != nullptr && error->is_string()) return error->get<std::string>();
  const json* message = member(error != nullptr ? *error : body, "message");
  return message != nullptr && message->is_string() ? message->get<std::string>() : "";
}

std::string error_message(std::string_view body) {
  const json parsed = json::parse(body, nullptr, /*allow_exceptions=*/false);
  const std::string message = message_of(parsed);
  return shortened(message.empty() ? body : std::string_view(message));
}

}  // namespace outrider::client

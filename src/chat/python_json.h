// Python's json.dumps.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace outrider::chat {

using Json = nlohmann::ordered_json;

// json.dumps(value, ensure_ascii=..., indent=...): separators ", " and ": ", floats as repr. Integers beyond
// 64 bits are floats already in `value`. Throws RequestError when nested more than 256 deep.
std::string python_json(const Json& value, int indent = -1, bool ensure_ascii = false);

}  // namespace outrider::chat

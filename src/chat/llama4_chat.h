// Llama 4's chat format: messages to prompt text, and tool calls back from text.
// Source of the format: transformers, models/llama4/processing_llama4.py (chat_template).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace outrider::chat {

using Json = nlohmann::ordered_json;

struct RenderOptions {
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  bool tools_in_user_message = true;
};

// `messages`: OpenAI's list (roles, string or part contents, tool_calls, tool results); `tools`: list or null.
// Throws RequestError with a message for the client: unknown part type, no messages, arguments that are not JSON...
// Images are refused until the vision tower is built.
std::string render(const Json& messages, const Json& tools, const RenderOptions& options);

// Python's json.dumps(value, ensure_ascii=..., indent=...): separators ", " and ": ", floats as repr.
std::string python_json(const Json& value, int indent = -1, bool ensure_ascii = false);

}  // namespace outrider::chat

// Llama 4's chat format: messages to prompt text, and tool calls back from text.
// Source of the format: transformers, models/llama4/processing_llama4.py (chat_template).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace outrider::chat {

using Json = nlohmann::ordered_json;

inline constexpr size_t kMaxArgumentsBytes = size_t{8} << 20;  // of one tool call

struct RenderOptions {
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  bool tools_in_user_message = true;
};

// `messages`: OpenAI's list (roles, string or part contents, tool_calls, tool results); `tools`: list or
// null. Throws RequestError with a message for the client: unknown part type, no messages, arguments that are
// not JSON... Images are refused until the vision tower is built.
//
// Where transformers' template would fail or lose text, clients that work with vLLM are served: null content
// is empty, an empty `tools` or `tool_calls` list is none at all, arguments may be a JSON text, and all text
// parts of a system message count, not only the first.
std::string render(const Json& messages, const Json& tools, const RenderOptions& options);

}  // namespace outrider::chat

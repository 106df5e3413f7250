// From a chat request's messages to the prompt's text: Llama 4's own format, or a template.
#pragma once

#include "server/request_fields.h"
#include "server/service.h"

namespace outrider::server {

struct ChatPrompt {
  const Json& messages;
  const Json& tools;  // null: none shown
  const Json& documents;
  const std::optional<std::string>& chat_template;  // of the request
  const Json& chat_template_kwargs;
  bool add_generation_prompt = true;
  bool continue_final_message = false;
};

// Throws RequestError.
std::string render_chat(const Service& service, const ChatPrompt& prompt);

}  // namespace outrider::server

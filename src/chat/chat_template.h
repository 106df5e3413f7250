// A chat template given by --chat-template or by a request, with what vLLM and transformers do around it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "chat/llama4_chat.h"

namespace outrider::chat {

// Whether the template gets a message's content as text or as a list of parts. Auto: parts where the template
// loops over a message's `content`.
enum class ContentFormat { kAuto, kString, kOpenAi };

struct TemplateVariables {
  Json tools, documents;  // null: none
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  std::string bos_token, eos_token;
  Json more = Json::object();  // chat_template_kwargs; they win
};

// Immutable; any thread may render.
class ChatTemplate {
 public:
  // Throws RequestError naming the line of what is wrong.
  ChatTemplate(std::string_view source, ContentFormat format);
  ~ChatTemplate();

  // Throws RequestError: messages of a wrong shape, images, or what the template raises.
  std::string render(const Json& messages, const TemplateVariables& variables) const;
  ContentFormat content_format() const;  // kString or kOpenAi

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace outrider::chat

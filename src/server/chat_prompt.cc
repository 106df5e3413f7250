#include "server/chat_prompt.h"

#include "base/error.h"

namespace outrider::server {
namespace {

std::string special_token(const tokenizer::Tokenizer& tokenizer, int32_t id) {
  return id >= 0 ? tokenizer.token_string(id) : std::string();
}

std::string render_template(const chat::ChatTemplate& own, const Service& service, const ChatPrompt& prompt,
                            Json kwargs) {
  chat::TemplateVariables variables;
  variables.tools = prompt.tools;
  variables.documents = prompt.documents;
  variables.add_generation_prompt = prompt.add_generation_prompt;
  variables.continue_final_message = prompt.continue_final_message;
  variables.bos_token = special_token(*service.tokenizer, service.tokenizer->bos_id());
  variables.eos_token = special_token(*service.tokenizer, service.tokenizer->eos_id());
  variables.more = std::move(kwargs);
  return own.render(prompt.messages, variables);
}

}  // namespace

std::string render_chat(const Service& service, const ChatPrompt& prompt) {
  const ServerOptions& options = service.options;
  Json kwargs = options.default_chat_template_kwargs;
  if (prompt.chat_template_kwargs.is_object()) kwargs.update(prompt.chat_template_kwargs);
  const bool untrusted = prompt.chat_template || kwargs.contains("chat_template");
  if (untrusted && !options.trust_request_chat_template) {
    throw RequestError(
        "Chat template is passed with request, but --trust-request-chat-template is not set. Refused request "
        "with "
        "untrusted chat template.");
  }
  if (kwargs.contains("chat_template")) {
    throw RequestError("give `chat_template` as a field of the request, not in chat_template_kwargs");
  }
  if (prompt.chat_template) {
    return render_template(chat::ChatTemplate(*prompt.chat_template, options.content_format), service, prompt,
                           std::move(kwargs));
  }
  if (options.chat_template)
    return render_template(*options.chat_template, service, prompt, std::move(kwargs));
  chat::RenderOptions render;
  render.add_generation_prompt = prompt.add_generation_prompt;
  render.continue_final_message = prompt.continue_final_message;
  const auto placed = kwargs.find("tools_in_user_message");
  if (placed != kwargs.end() && placed->is_boolean()) render.tools_in_user_message = placed->get<bool>();
  return chat::render(prompt.messages, prompt.tools, render);
}

}  // namespace outrider::server

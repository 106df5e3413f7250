// Bytes as a template, rendered with a small chat.
#include "base/error.h"
#include "chat/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) try {
  using namespace outrider::chat;
  static const Json messages = Json::parse(
      R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "añ"}]},
          {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": [1, 2.5]}"}}]}])");
  static const Json tools =
      Json::parse(R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])");
  TemplateVariables variables;
  variables.tools = tools;
  variables.bos_token = "<s>";
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  ChatTemplate(source, ContentFormat::kAuto).render(messages, variables);
  return 0;
} catch (const outrider::RequestError&) {
  return 0;
}

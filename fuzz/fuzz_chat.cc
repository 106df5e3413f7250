// Bytes as a reply with tool calls, and as messages and tools.
#include "base/error.h"
#include "chat/llama4_chat.h"
#include "chat/tool_parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) try {
  using namespace outrider::chat;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const ToolFormat format : {ToolFormat::kPythonic, ToolFormat::kJson}) {
    for (const ToolCall& call : parse_reply(format, text).calls) {
      if (!Json::accept(call.arguments)) __builtin_trap();
    }
  }
  const Json body = Json::parse(text, nullptr, false);
  if (body.is_object()) render(body.value("messages", Json()), body.value("tools", Json()), {});
  return 0;
} catch (const outrider::RequestError&) {
  return 0;
}

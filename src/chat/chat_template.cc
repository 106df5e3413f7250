#include "chat/chat_template.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "chat/jinja_template.h"
#include "chat/jinja_text.h"
#include "chat/literal.h"

namespace outrider::chat {

using jinja::Expression;
using jinja::Side;
using jinja::Statement;
using jinja::Statements;

struct ChatTemplate::Impl {
  jinja::Template code;
  ContentFormat format;
};

namespace {

// --- which format the template wants ---

// Looks for `{% for part in message.content %}`, also by way of `{% set content = message.content %}`.
class ContentLoopFinder {
 public:
  bool find(const Statements& body) {
    return std::any_of(body.begin(), body.end(), [&](const Statement& s) { return find(s); });
  }

 private:
  bool find(const Statement& s) {
    if (s.kind == Statement::Kind::kSet && s.target->kind == Expression::Kind::kName &&
        is_content(*s.expression)) {
      names_.insert(s.target->name);
    }
    if (s.kind == Statement::Kind::kFor && is_content(*s.expression)) return true;
    for (const jinja::Branch& branch : s.branches) {
      if (find(*branch.body)) return true;
    }
    return (s.body != nullptr && find(*s.body)) || (s.otherwise != nullptr && find(*s.otherwise));
  }

  bool is_content(const Expression& e) const {
    switch (e.kind) {
      case Expression::Kind::kName:
        return names_.contains(e.name);
      case Expression::Kind::kAttribute:
        return e.name == "content";
      case Expression::Kind::kItem: {
        const Expression& key = *e.children[1];
        return key.kind == Expression::Kind::kConstant && key.value.is_string() &&
               *key.value.string() == "content";
      }
      case Expression::Kind::kFilter:
      case Expression::Kind::kSlice:
        return e.children[0] != nullptr && is_content(*e.children[0]);
      default:
        return false;
    }
  }

  std::set<std::string> names_;
};

// --- messages ---

[[noreturn]] void refuse(size_t index, const std::string& why) {
  throw RequestError("messages[" + std::to_string(index) + "]: " + why);
}

std::string part_text(const Json& part, size_t index) {
  if (part.is_string()) return part.get<std::string>();
  const std::string type = part.is_object() && part.contains("type") && part["type"].is_string()
                               ? part["type"].get<std::string>()
                               : std::string();
  if (type.find("image") != std::string::npos) refuse(index, "images are not supported yet; send text only");
  const char* key = type == "refusal" ? "refusal" : "text";
  if (type != "text" && type != "input_text" && type != "output_text" && type != "refusal") {
    refuse(index, "each part of content must be a text, {\"type\": \"text\", \"text\": ...}");
  }
  const auto text = part.find(key);
  if (text == part.end() || !text->is_string())
    refuse(index, "a content part of type \"" + type + "\" has no text");
  return text->get<std::string>();
}

Json content_of(const Json& message, size_t index, ContentFormat format) {
  std::vector<std::string> texts;
  const auto content = message.find("content");
  if (content != message.end() && content->is_string()) {
    texts.push_back(content->get<std::string>());
  } else if (content != message.end() && content->is_array()) {
    for (const Json& part : *content) texts.push_back(part_text(part, index));
  } else if (content != message.end() && !content->is_null()) {
    refuse(index, "content must be a text or a list of parts");
  }
  if (format == ContentFormat::kOpenAi) {
    Json parts = Json::array();
    for (std::string& text : texts) parts.push_back({{"type", "text"}, {"text", std::move(text)}});
    return parts;
  }
  std::string joined;
  for (size_t i = 0; i < texts.size(); ++i) joined += (i > 0 ? "\n" : "") + texts[i];
  return joined;
}

// The text of `arguments` becomes the object that templates print.
Json parsed_arguments(const Json& arguments, size_t index) {
  if (!arguments.is_string()) return arguments.is_null() ? Json::object() : arguments;
  const auto& text = arguments.get_ref<const std::string&>();
  if (jinja::strip(text, Side::kBoth, {}).empty()) return Json::object();
  if (text.size() > kMaxArgumentsBytes) refuse(index, "a tool call's arguments are longer than 8 MiB");
  LiteralReader reader(text, Syntax::kJson, false);
  std::string json;
  if (!reader.value(json) || !reader.at_end()) refuse(index, "a tool call's arguments are not JSON");
  return Json::parse(json);
}

Json calls_of(const Json& message, size_t index) {
  Json calls = message["tool_calls"];
  if (!calls.is_array()) refuse(index, "tool_calls must be a list");
  for (Json& call : calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) {
      refuse(index, "each of tool_calls must have a function");
    }
    Json& function = call["function"];
    if (function.contains("arguments"))
      function["arguments"] = parsed_arguments(function["arguments"], index);
  }
  return calls;
}

// What vLLM hands to templates: role, content, name, tool calls.
Json conversation(const Json& messages, ContentFormat format) {
  if (!messages.is_array() || messages.empty()) {
    throw RequestError("messages must be a list with at least one message");
  }
  Json out = Json::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    const Json& message = messages[i];
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) {
      refuse(i, "needs a role: system, user, assistant or tool");
    }
    Json made = {{"role", message["role"]}, {"content", content_of(message, i, format)}};
    if (message.contains("name") && message["name"].is_string()) made["name"] = message["name"];
    if (message.contains("tool_calls") && !message["tool_calls"].is_null() &&
        message["role"] == "assistant") {
      made["tool_calls"] = calls_of(message, i);
    }
    if (message.contains("tool_call_id") && message["role"] == "tool")
      made["tool_call_id"] = message["tool_call_id"];
    out.push_back(std::move(made));
  }
  return out;
}

// Cuts what the template put after the message that is to be continued, as transformers does.
std::string cut_after_last(std::string text, const Json& messages) {
  const Json& content = messages.back()["content"];
  std::string last;
  if (content.is_string()) last = content.get<std::string>();
  if (content.is_array() && !content.empty()) last = content.back()["text"].get<std::string>();
  const std::string_view core = jinja::strip(last, Side::kBoth, {});
  const size_t found = text.rfind(core);
  if (found == std::string::npos) {
    throw RequestError(
        "continue_final_message is set but the final message does not appear in the chat after applying the "
        "chat "
        "template");
  }
  const std::string_view open = jinja::strip(last, Side::kLeft, {});
  const bool kept = std::string_view(text).substr(found, open.size()) == last;
  text.resize(found + (kept ? open.size() : core.size()));
  return text;
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view source, ContentFormat format) {
  try {
    jinja::Template code(source);
    if (format == ContentFormat::kAuto) {
      format = ContentLoopFinder().find(code.tree()) ? ContentFormat::kOpenAi : ContentFormat::kString;
    }
    impl_ = std::make_unique<const Impl>(Impl{std::move(code), format});
  } catch (const jinja::Error& error) {
    throw RequestError(std::string("chat template: ") + error.what());
  }
}

ChatTemplate::~ChatTemplate() = default;

ContentFormat ChatTemplate::content_format() const { return impl_->format; }

std::string ChatTemplate::render(const Json& messages, const TemplateVariables& variables) const {
  if (variables.continue_final_message && variables.add_generation_prompt) {
    throw RequestError("Cannot set both `continue_final_message` and `add_generation_prompt` to True.");
  }
  Json all = {{"messages", conversation(messages, impl_->format)},
              {"tools", variables.tools.is_array() && !variables.tools.empty() ? variables.tools : Json()},
              {"documents", variables.documents},
              {"bos_token", variables.bos_token},
              {"eos_token", variables.eos_token},
              {"add_generation_prompt", variables.add_generation_prompt},
              {"continue_final_message", variables.continue_final_message}};
  if (variables.more.is_object()) all.update(variables.more);
  std::string text;
  try {
    text = impl_->code.render(all);
  } catch (const jinja::Error& error) {
    throw RequestError(error.what());
  }
  return variables.continue_final_message ? cut_after_last(std::move(text), all["messages"]) : text;
}

}  // namespace outrider::chat

#include "chat/llama4_chat.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "base/utf8.h"
#include "chat/jinja_text.h"
#include "chat/literal.h"
#include "chat/python_json.h"

namespace outrider::chat {
namespace {

constexpr std::string_view kCallForm =
    R"(Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.)"
    "Do not use variables.\n\n";
constexpr std::string_view kUserToolsIntro =
    "Given the following functions, please respond with a JSON for a function call with its proper arguments "
    "that best "
    "answers the given prompt.\n\n";
constexpr std::string_view kSystemToolsIntro =
    "You have access to the following functions. To call a function, please respond with JSON for a function "
    "call.";
constexpr size_t kMaxRoleBytes = 64;

// str.strip() of Python.
std::string_view trim(std::string_view text) { return jinja::strip(text, jinja::Side::kBoth, std::nullopt); }

const Json* member(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

class Renderer {
 public:
  Renderer(const Json& messages, const Json& tools, const RenderOptions& options)
      : messages_(messages), tools_(tools.empty() ? nullptr : &tools), options_(options) {}

  std::string render();

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw RequestError("messages[" + std::to_string(index_) + "]: " + why);
  }

  void check_options() const;
  void header(std::string_view role) {
    out_ += "<|header_start|>";
    out_ += role;
    out_ += "<|header_end|>\n\n";
  }
  // The message being continued is left open: the model goes on where it ends.
  void end_of_turn() {
    if (!(options_.continue_final_message && index_ + 1 == messages_.size())) out_ += "<|eot|>";
  }
  void list_tools();
  void system_message(const Json& message);
  void tools_and_first_message();
  void message(const Json& message);
  void calls(const Json& message, const Json& calls);
  void tool_result(const Json& message);

  std::string role_of(const Json& message) const;
  std::string text_of(const Json& message) const;
  std::string part_text(const Json& part) const;
  const Json* calls_of(const Json& message) const;
  std::string arguments_of(const Json& function) const;

  const Json& messages_;
  const Json* tools_;  // null when there are none
  const RenderOptions& options_;
  size_t index_ = 0;  // of the message at hand
  std::string out_ = "<|begin_of_text|>";
};

void Renderer::check_options() const {
  if (!messages_.is_array() || messages_.empty())
    throw RequestError("messages must be a list with at least one message");
  if (tools_ != nullptr) {
    if (!tools_->is_array()) throw RequestError("tools must be a list");
    for (const Json& tool : *tools_) {
      if (!tool.is_object()) throw RequestError("each of tools must be an object with type and function");
    }
  }
  if (options_.continue_final_message && options_.add_generation_prompt) {
    throw RequestError("Cannot set both `continue_final_message` and `add_generation_prompt` to True.");
  }
}

std::string Renderer::render() {
  check_options();
  if (messages_[0].is_object() && role_of(messages_[0]) == "system") {
    system_message(messages_[0]);
    ++index_;
  }
  if (tools_ != nullptr && options_.tools_in_user_message) {
    tools_and_first_message();
    ++index_;
  }
  for (; index_ < messages_.size(); ++index_) message(messages_[index_]);
  if (options_.add_generation_prompt) header("assistant");
  return std::move(out_);
}

void Renderer::list_tools() {
  for (const Json& tool : *tools_) out_ += python_json(tool, 4) + "\n\n";
}

void Renderer::system_message(const Json& message) {
  header("system");
  if (tools_ != nullptr) {
    out_ += "Environment: ipython\n";
    if (!options_.tools_in_user_message) {
      out_ += kSystemToolsIntro;
      out_ += kCallForm;
      list_tools();
    }
  }
  out_ += trim(text_of(message));
  end_of_turn();
}

void Renderer::tools_and_first_message() {
  if (index_ == messages_.size()) {
    throw RequestError("tools are put into the first message after the system message, and there is none");
  }
  const std::string text = text_of(messages_[index_]);
  header("user");
  out_ += kUserToolsIntro;
  out_ += kCallForm;
  list_tools();
  out_ += trim(text);
  end_of_turn();
}

void Renderer::message(const Json& message) {
  const std::string role = role_of(message);
  const Json* tool_calls = calls_of(message);
  const bool continued = options_.continue_final_message && index_ + 1 == messages_.size();
  if (tool_calls != nullptr) {
    if (role != "assistant") refuse("tool_calls belong to messages of the assistant");
    if (continued) refuse("a message with tool_calls cannot be continued");
    return calls(message, *tool_calls);
  }
  if (role == "tool" || role == "ipython") {
    if (continued) refuse("a tool's result cannot be continued");
    return tool_result(message);
  }
  const std::string text = text_of(message);
  header(role);
  out_ += text;
  end_of_turn();
}

void Renderer::calls(const Json& message, const Json& calls) {
  header("assistant");
  out_ += "<|python_start|>" + text_of(message) + "<|python_end|>";
  for (const Json& call : calls) {
    const Json* function = call.is_object() ? member(call, "function") : nullptr;
    if (function == nullptr || !function->is_object()) refuse("each of tool_calls must have a function");
    const Json* name = member(*function, "name");
    if (name == nullptr || !name->is_string() || name->get_ref<const std::string&>().empty()) {
      refuse("a tool call's function has no name");
    }
    // The template does not escape the name.
    out_ +=
        "{\"name\": \"" + name->get<std::string>() + "\", \"parameters\": " + arguments_of(*function) + "}";
  }
  end_of_turn();
}

void Renderer::tool_result(const Json& message) {
  const auto content = message.find("content");
  if (content == message.end()) refuse("a tool's result needs a content");
  header("ipython");
  if (content->is_null()) {
    out_ += "\"\"";
  } else if (content->is_string() || content->is_object()) {
    out_ += python_json(*content);
  } else if (content->is_array()) {
    for (const Json& part : *content) {
      if (part.is_object() && part.contains("type")) part_text(part);  // refuses images
    }
    out_ += python_json(*content);
  } else {
    refuse("a tool's content must be a text, an object or a list");
  }
  end_of_turn();
}

std::string Renderer::role_of(const Json& message) const {
  if (!message.is_object()) refuse("must be an object with role and content");
  const Json* role = member(message, "role");
  if (role == nullptr || !role->is_string()) refuse("needs a role: system, user, assistant or tool");
  auto name = role->get<std::string>();
  // A role goes into the prompt as it is; it must not bring special tokens along.
  if (name.empty() || name.size() > kMaxRoleBytes || name.find("<|") != std::string::npos) {
    refuse("role must be system, user, assistant or tool");
  }
  return name;
}

std::string Renderer::text_of(const Json& message) const {
  if (!message.is_object()) refuse("must be an object with role and content");
  const auto content = message.find("content");
  if (content == message.end()) {
    if (role_of(message) != "assistant") refuse("needs a content");
    return {};
  }
  if (content->is_null()) return {};
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) refuse("content must be a text or a list of parts");
  std::string text;
  for (const Json& part : *content) text += part_text(part);
  return text;
}

std::string Renderer::part_text(const Json& part) const {
  if (part.is_string()) return part.get<std::string>();
  const Json* type = part.is_object() ? member(part, "type") : nullptr;
  if (type == nullptr || !type->is_string()) refuse("each part of content must be an object with a type");
  const auto& name = type->get_ref<const std::string&>();
  for (const std::string_view image : {"image", "image_url", "input_image", "image_pil", "image_embeds"}) {
    if (name == image) refuse("images are not supported yet; send text only");
  }
  const bool is_text = name == "text" || name == "input_text" || name == "output_text";
  if (!is_text && name != "refusal") {
    refuse("a content part of type \"" + name.substr(0, kMaxRoleBytes) + "\" is not supported; send text");
  }
  const Json* text = member(part, is_text ? "text" : "refusal");
  if (text == nullptr || !text->is_string()) refuse("a content part of type \"" + name + "\" has no text");
  return text->get<std::string>();
}

// Null when the message calls no tools.
const Json* Renderer::calls_of(const Json& message) const {
  const Json* calls = member(message, "tool_calls");
  if (calls == nullptr) return nullptr;
  if (!calls->is_array()) refuse("tool_calls must be a list");
  return calls->empty() ? nullptr : calls;
}

std::string Renderer::arguments_of(const Json& function) const {
  const Json* arguments = member(function, "arguments");
  if (arguments == nullptr) return "{}";
  if (arguments->is_object()) return python_json(*arguments);
  if (!arguments->is_string()) refuse("a tool call's arguments must be a JSON object or the text of one");
  const auto& text = arguments->get_ref<const std::string&>();
  if (trim(text).empty()) return "{}";
  if (text.size() > kMaxArgumentsBytes) refuse("a tool call's arguments are longer than 8 MiB");
  LiteralReader reader(text, Syntax::kJson, false);
  std::string json;
  if (!reader.value(json) || !reader.at_end() || json[0] != '{') {
    refuse("a tool call's arguments are not the text of a JSON object");
  }
  return json;
}

}  // namespace

std::string render(const Json& messages, const Json& tools, const RenderOptions& options) {
  return Renderer(messages, tools, options).render();
}

}  // namespace outrider::chat

#include "server/chat_completions.h"

#include <algorithm>

#include "server/chat_prompt.h"
#include "server/chat_writer.h"
#include "server/preparation.h"
#include "server/start_generation.h"
#include "server/structured_outputs.h"

namespace outrider::server {
namespace {

struct ToolUse {
  Json offered;  // what the template shows; null: nothing
  std::optional<chat::ToolFormat> parse;
  bool forced = false;                           // the reply can be nothing but calls
  bool one_call = false;                         // and of them only the first counts
  std::string named;                             // the function whose arguments the reply is
  std::optional<sampling::GrammarSpec> grammar;  // where forced
};

ToolUse resolve_tools(const ChatFields& fields, const ServerOptions& options) {
  ToolUse use;
  use.one_call = !fields.parallel_tool_calls.value_or(true);
  if (!fields.tools.is_array() || fields.tools.empty()) return use;
  const Json& choice = fields.tool_choice;
  if (choice == "none") {
    if (!options.exclude_tools_when_tool_choice_none) use.offered = fields.tools;
    return use;
  }
  if (choice.is_object() || choice == "required") {
    use.offered = fields.tools;
    use.forced = true;
    if (choice.is_object()) {
      use.named = choice["function"]["name"].get<std::string>();
      use.grammar = named_call_grammar(fields.tools, use.named);
    } else {
      use.parse =
          chat::ToolFormat::kJson;  // as which the grammar has it, whatever the model was trained to write
      use.grammar = required_call_grammar(fields.tools, use.one_call);
    }
    return use;
  }
  if (!options.enable_auto_tool_choice || !options.tool_format) {
    throw RequestError(
        "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set");
  }
  use.offered = fields.tools;
  use.parse = options.tool_format;
  return use;
}

// 0 and null both leave the length to the context; the newer name wins.
std::optional<int64_t> asked_max_tokens(const ChatFields& fields) {
  if (fields.max_completion_tokens.value_or(0) != 0) return fields.max_completion_tokens;
  return fields.max_tokens;
}

int64_t resolve_max_tokens(const ChatFields& fields, const ServerOptions& options, int64_t prompt_tokens) {
  const int64_t limit = options.max_model_len;
  if (prompt_tokens >= limit) {
    throw RequestError("This model's maximum context length is " + std::to_string(limit) +
                       " tokens. However, your request has " + std::to_string(prompt_tokens) +
                       " input tokens. Please reduce the length of the input messages. None");
  }
  int64_t max_tokens = limit - prompt_tokens;
  if (const std::optional<int64_t> asked = asked_max_tokens(fields)) {
    const std::string m = std::to_string(*asked), l = std::to_string(limit),
                      n = std::to_string(prompt_tokens);
    if (*asked < 1) throw RequestError("max_tokens must be at least 1, got " + m + ".");
    if (*asked > max_tokens) {
      throw RequestError("'max_tokens' or 'max_completion_tokens' is too large: " + m +
                         ". This model's maximum context length is " + l + " tokens and your request has " +
                         n + " input tokens (" + m + " > " + l + " - " + n + "). None");
    }
    max_tokens = *asked;
  }
  const std::optional<int64_t>& own = options.defaults.max_new_tokens;
  return own && *own > 0 ? std::min(max_tokens, *own) : max_tokens;
}

std::string text_of_last_message(const Json& messages, const std::string& role) {
  if (messages.empty() || messages.back()["role"] != role) return {};
  const auto content = messages.back().find("content");
  return content != messages.back().end() && content->is_string() ? content->get<std::string>()
                                                                  : std::string();
}

PreparedRequest prepare_chat(const Service& service, const HttpRequest& request) {
  const ServerOptions& options = service.options;
  const Json body = read_json_body(request, options.limits);
  const ChatFields fields = read_chat_fields(body);
  check_model(fields.model, options);
  refuse_unsupported(fields);
  ToolUse tools = resolve_tools(fields, options);
  std::optional<sampling::GrammarSpec> grammar = read_chat_grammar(fields, options);
  if (grammar && tools.forced) {
    throw RequestError("`tool_choice` and `" + grammar->field +
                       "` both say what the reply must be; leave one out.");
  }

  Job job = make_job(service, fields, "chatcmpl-" + base_request_id(request, fields.request_id));
  const bool add_generation_prompt = fields.add_generation_prompt.value_or(true);
  const std::string text =
      render_chat(service, {fields.messages, tools.offered, fields.documents, fields.chat_template,
                            fields.chat_template_kwargs, add_generation_prompt,
                            fields.continue_final_message.value_or(false)});
  std::vector<int32_t> ids = service.tokenizer->encode(text, fields.add_special_tokens.value_or(false));
  if (fields.truncate_prompt_tokens)
    truncate_prompt(ids, *fields.truncate_prompt_tokens, options.max_model_len - 1);
  if (ids.empty()) throw RequestError("The decoder prompt cannot be empty");
  const int64_t max_tokens = resolve_max_tokens(fields, options, static_cast<int64_t>(ids.size()));
  job.prompts.push_back(std::move(ids));

  Logprobs wanted;
  if (fields.logprobs.value_or(false)) wanted.sample = fields.top_logprobs.value_or(0);
  wanted.prompt = fields.prompt_logprobs;
  job.grammar_spec = std::move(tools.forced ? tools.grammar : grammar);
  ChatShape shape;
  finish_job(service, fields, max_tokens, wanted, job, shape);

  shape.role =
      add_generation_prompt ? options.response_role : fields.messages.back()["role"].get<std::string>();
  if (fields.echo.value_or(false)) shape.echo = text_of_last_message(fields.messages, shape.role);
  shape.tools = tools.parse;
  shape.forced_calls = tools.forced;
  shape.named_tool = tools.named;
  shape.one_call = tools.one_call;
  auto writer = std::make_unique<ChatWriter>(job, std::move(shape), token_names(service, fields));
  return {std::move(job), std::move(writer)};
}

}  // namespace

void handle_chat_completions(Service& service, HttpRequest request, ResponderPtr responder) {
  prepare_and_start(service, std::move(request), std::move(responder), &prepare_chat);
}

}  // namespace outrider::server

#include "server/request_fields.h"

#include "base/python_repr.h"

namespace outrider::server {
namespace {

const Field<GenerationFields> kGenerationTable[] = {
    {"model", &GenerationFields::model},
    {"request_id", &GenerationFields::request_id},
    {"cache_salt", &GenerationFields::cache_salt},
    {"n", &GenerationFields::n},
    {"best_of", &GenerationFields::best_of},
    {"max_tokens", &GenerationFields::max_tokens},
    {"min_tokens", &GenerationFields::min_tokens},
    {"seed", &GenerationFields::seed},
    {"top_k", &GenerationFields::top_k},
    {"priority", &GenerationFields::priority},
    {"prompt_logprobs", &GenerationFields::prompt_logprobs},
    {"truncate_prompt_tokens", &GenerationFields::truncate_prompt_tokens, {.min = -1}},
    {"temperature", &GenerationFields::temperature},
    {"top_p", &GenerationFields::top_p},
    {"min_p", &GenerationFields::min_p},
    {"repetition_penalty", &GenerationFields::repetition_penalty},
    {"presence_penalty", &GenerationFields::presence_penalty},
    {"frequency_penalty", &GenerationFields::frequency_penalty},
    {"stream", &GenerationFields::stream},
    {"echo", &GenerationFields::echo},
    {"ignore_eos", &GenerationFields::ignore_eos},
    {"include_stop_str_in_output", &GenerationFields::include_stop_str_in_output},
    {"skip_special_tokens", &GenerationFields::skip_special_tokens},
    {"add_special_tokens", &GenerationFields::add_special_tokens},
    {"use_beam_search", &GenerationFields::use_beam_search},
    {"return_tokens_as_token_ids", &GenerationFields::return_tokens_as_token_ids},
    {"return_token_ids", &GenerationFields::return_token_ids},
    {"stop", &GenerationFields::stop},
    {"bad_words", &GenerationFields::bad_words},
    {"stop_token_ids", &GenerationFields::stop_token_ids},
    {"allowed_token_ids", &GenerationFields::allowed_token_ids},
    {"logit_bias", &GenerationFields::logit_bias},
    {"stream_options", &GenerationFields::stream_options_json},
    {"response_format", &GenerationFields::response_format},
    {"logits_processors", &GenerationFields::logits_processors},
    {"guided_json", &GenerationFields::guided_json},
    {"guided_regex", &GenerationFields::guided_regex},
    {"guided_choice", &GenerationFields::guided_choice},
    {"guided_grammar", &GenerationFields::guided_grammar},
    {"guided_decoding_backend", &GenerationFields::guided_decoding_backend},
    {"guided_whitespace_pattern", &GenerationFields::guided_whitespace_pattern},
    {"structured_outputs", &GenerationFields::structured_outputs},
};

const Field<StreamOptions> kStreamOptionsTable[] = {
    {"include_usage", &StreamOptions::include_usage},
    {"continuous_usage_stats", &StreamOptions::continuous_usage_stats},
};

const Field<CompletionFields> kCompletionTable[] = {
    {"prompt", &CompletionFields::prompt},
    {"prompt_embeds", &CompletionFields::prompt_embeds},
    {"suffix", &CompletionFields::suffix},
    {"logprobs", &CompletionFields::logprobs},
};

const Field<ChatFields> kChatTable[] = {
    {"messages", &ChatFields::messages},
    {"tools", &ChatFields::tools},
    {"tool_choice", &ChatFields::tool_choice},
    {"chat_template", &ChatFields::chat_template},
    {"chat_template_kwargs", &ChatFields::chat_template_kwargs},
    {"documents", &ChatFields::documents},
    {"structural_tag", &ChatFields::structural_tag},
    {"max_completion_tokens", &ChatFields::max_completion_tokens},
    {"top_logprobs", &ChatFields::top_logprobs},
    {"logprobs", &ChatFields::logprobs},
    {"add_generation_prompt", &ChatFields::add_generation_prompt},
    {"continue_final_message", &ChatFields::continue_final_message},
    {"parallel_tool_calls", &ChatFields::parallel_tool_calls},
};

const Field<TokenizeFields> kTokenizeTable[] = {
    {"model", &TokenizeFields::model},
    {"prompt", &TokenizeFields::prompt},
    {"messages", &TokenizeFields::messages},
    {"tools", &TokenizeFields::tools},
    {"chat_template", &TokenizeFields::chat_template},
    {"chat_template_kwargs", &TokenizeFields::chat_template_kwargs},
    {"documents", &TokenizeFields::documents},
    {"add_special_tokens", &TokenizeFields::add_special_tokens},
    {"return_token_strs", &TokenizeFields::return_token_strs},
    {"add_generation_prompt", &TokenizeFields::add_generation_prompt},
    {"continue_final_message", &TokenizeFields::continue_final_message},
};

const Field<DetokenizeFields> kDetokenizeTable[] = {
    {"model", &DetokenizeFields::model},
    {"tokens", &DetokenizeFields::tokens},
};

void require_object(const Json& json, const char* name, FieldErrors& errors) {
  if (!json.is_null() && !json.is_object()) {
    errors.add("dict_type", place_of(name), "Input should be a valid dictionary", json);
  }
}

void read_generation_fields(const Json& body, GenerationFields& fields, FieldErrors& errors) {
  read_fields<GenerationFields>(body, kGenerationTable, fields, errors);
  require_object(fields.logit_bias, "logit_bias", errors);
  require_object(fields.response_format, "response_format", errors);
  require_object(fields.structured_outputs, "structured_outputs", errors);
  require_object(fields.stream_options_json, "stream_options", errors);
  if (fields.stream_options_json.is_object()) {
    fields.stream_options.emplace();
    read_fields<StreamOptions>(fields.stream_options_json, kStreamOptionsTable, *fields.stream_options,
                               errors, place_of("stream_options"));
  }
}

void check_generation_rules(const Json& body, const GenerationFields& fields) {
  if (fields.stream_options && !fields.streaming()) {
    throw_value_error(body, "Stream options can only be defined when `stream=True`.");
  }
  if (fields.prompt_logprobs) {
    if (fields.streaming() && *fields.prompt_logprobs > 0) {
      throw_value_error(body, "`prompt_logprobs` are not available when `stream=True`.");
    }
    if (*fields.prompt_logprobs < 0) throw_value_error(body, "`prompt_logprobs` must be a positive value.");
  }
  const int kinds =
      !fields.guided_json.is_null() + !fields.guided_regex.is_null() + !fields.guided_choice.is_null();
  if (kinds > 1) {
    throw_value_error(body,
                      "You can only use one kind of guided decoding ('guided_json', 'guided_regex' or "
                      "'guided_choice').");
  }
  if (fields.cache_salt && fields.cache_salt->empty()) {
    throw_value_error(body, "Parameter 'cache_salt' must be a non-empty string if provided.");
  }
}

void check_tool_rules(const Json& body, const ChatFields& fields) {
  const Json& choice = fields.tool_choice;
  if (choice.is_null() || choice == "none") return;
  if (!fields.tools.is_array() || fields.tools.empty()) {
    throw_value_error(body, "When using `tool_choice`, `tools` must be set.");
  }
  if (choice.is_string() && choice != "auto" && choice != "required") {
    throw_value_error(body, "Invalid value for `tool_choice`: " + choice.get<std::string>() +
                                "! Only named tools, \"none\", \"auto\" or \"required\" are supported.");
  }
  if (choice.is_string()) return;
  const Json* name = nullptr;
  if (choice.is_object() && choice.contains("function") && choice["function"].is_object()) {
    const Json& function = choice["function"];
    if (const auto found = function.find("name"); found != function.end() && found->is_string())
      name = &*found;
  }
  if (name == nullptr) {
    throw_value_error(body, "Invalid value for `tool_choice`: " + python_repr(choice, 200) +
                                "! Only named tools, \"none\", \"auto\" or \"required\" are supported.");
  }
  for (const Json& tool : fields.tools) {
    if (tool["function"]["name"] == *name) return;
  }
  throw_value_error(body, "The tool specified in `tool_choice` does not match any of the specified `tools`");
}

// Every tool is {"type": "function", "function": {"name": "..."}}; the type may be absent.
void check_tools(const Json& tools, FieldErrors& errors) {
  if (tools.is_null()) return;
  if (!tools.is_array()) {
    errors.add("list_type", place_of("tools"), "Input should be a valid list", tools);
    return;
  }
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string place = place_of("tools") + ", " + std::to_string(i);
    const Json& tool = tools[i];
    if (!tool.is_object()) {
      errors.add("model_type", place,
                 "Input should be a valid dictionary or instance of ChatCompletionToolsParam", tool);
      continue;
    }
    const auto function = tool.find("function");
    if (function == tool.end() || !function->is_object()) {
      errors.add("missing", place + ", 'function'", "Field required", tool);
      continue;
    }
    const auto name = function->find("name");
    if (name == function->end() || !name->is_string()) {
      errors.add("missing", place + ", 'function', 'name'", "Field required", *function);
    }
  }
}

void check_messages(const Json& body, const Json& messages, FieldErrors& errors) {
  if (messages.is_null()) {
    errors.add("missing", place_of("messages"), "Field required", body);
    return;
  }
  if (!messages.is_array()) {
    errors.add("list_type", place_of("messages"), "Input should be a valid list", messages);
    return;
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string place = place_of("messages") + ", " + std::to_string(i);
    if (!messages[i].is_object()) {
      errors.add("dict_type", place, "Input should be a valid dictionary", messages[i]);
    } else if (const auto role = messages[i].find("role"); role == messages[i].end() || role->is_null()) {
      errors.add("missing", place + ", 'role'", "Field required", messages[i]);
    } else if (!role->is_string()) {
      errors.add("string_type", place + ", 'role'", "Input should be a valid string", *role);
    }
  }
}

bool is_empty_prompt(const Json& prompt) {
  if (prompt.is_null()) return true;
  if (prompt.is_string()) return prompt.get_ref<const std::string&>().empty();
  return prompt.is_array() && prompt.empty();
}

void check_generation_prompt(const Json& body, const std::optional<bool>& add,
                             const std::optional<bool>& go_on) {
  if (go_on.value_or(false) && add.value_or(false)) {
    throw_value_error(body, "Cannot set both `continue_final_message` and `add_generation_prompt` to True.");
  }
}

}  // namespace

CompletionFields read_completion_fields(const Json& body) {
  CompletionFields fields;
  FieldErrors errors;
  read_generation_fields(body, fields, errors);
  read_fields<CompletionFields>(body, kCompletionTable, fields, errors);
  errors.throw_if_any();
  check_generation_rules(body, fields);
  if (fields.logprobs && *fields.logprobs < 0)
    throw_value_error(body, "`logprobs` must be a positive value.");
  if (is_empty_prompt(fields.prompt) && fields.prompt_embeds.is_null()) {
    throw_value_error(body, "Either prompt or prompt_embeds must be provided and non-empty.");
  }
  return fields;
}

ChatFields read_chat_fields(const Json& body) {
  ChatFields fields;
  FieldErrors errors;
  read_generation_fields(body, fields, errors);
  read_fields<ChatFields>(body, kChatTable, fields, errors);
  check_messages(body, fields.messages, errors);
  check_tools(fields.tools, errors);
  require_object(fields.chat_template_kwargs, "chat_template_kwargs", errors);
  errors.throw_if_any();
  check_generation_rules(body, fields);
  if (fields.top_logprobs) {
    if (*fields.top_logprobs < 0) throw_value_error(body, "`top_logprobs` must be a positive value.");
    if (*fields.top_logprobs > 0 && !fields.logprobs.value_or(false)) {
      throw_value_error(body, "when using `top_logprobs`, `logprobs` must be set to true.");
    }
  }
  check_tool_rules(body, fields);
  check_generation_prompt(body, fields.add_generation_prompt, fields.continue_final_message);
  return fields;
}

TokenizeFields read_tokenize_fields(const Json& body) {
  TokenizeFields fields;
  FieldErrors errors;
  read_fields<TokenizeFields>(body, kTokenizeTable, fields, errors);
  if (!fields.messages.is_null()) {
    check_messages(body, fields.messages, errors);
    check_tools(fields.tools, errors);
    require_object(fields.chat_template_kwargs, "chat_template_kwargs", errors);
  } else if (!fields.prompt) {
    errors.add("missing", place_of("prompt"), "Field required", body);
  }
  errors.throw_if_any();
  check_generation_prompt(body, fields.add_generation_prompt, fields.continue_final_message);
  return fields;
}

DetokenizeFields read_detokenize_fields(const Json& body) {
  DetokenizeFields fields;
  FieldErrors errors;
  read_fields<DetokenizeFields>(body, kDetokenizeTable, fields, errors);
  if (!fields.tokens) errors.add("missing", place_of("tokens"), "Field required", body);
  errors.throw_if_any();
  return fields;
}

}  // namespace outrider::server

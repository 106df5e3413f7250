#include "server/completions.h"

#include <algorithm>

#include "server/completion_writer.h"
#include "server/preparation.h"
#include "server/start_generation.h"
#include "server/structured_outputs.h"

namespace outrider::server {
namespace {

RequestError bad_prompt(const Json& prompt) {
  FieldErrors errors;
  errors.add("string_type", place_of("prompt") + ", 'str'", "Input should be a valid string", prompt);
  errors.add("list_type", place_of("prompt") + ", 'list[int]'", "Input should be a valid list", prompt);
  try {
    errors.throw_if_any();
  } catch (const RequestError& error) {
    return error;
  }
  return RequestError("prompt", "Bad Request");
}

// One prompt: its ids and, with echo, its text.
struct PromptReader {
  const Service& service;
  const CompletionFields& fields;
  int64_t max_length;  // longest prompt that leaves room for the reply
  Job& job;
  CompletionShape& shape;

  void add_text(const std::string& text) {
    std::vector<int32_t> ids = service.tokenizer->encode(text, fields.add_special_tokens.value_or(true));
    add(std::move(ids), text);
  }

  void add_ids(const Json& list) {
    FieldErrors errors;
    std::optional<std::vector<int64_t>> wide;
    read_value(list, place_of("prompt"), {}, errors, wide);
    errors.throw_if_any();
    check_token_ids(*wide, service.options.vocab_size);
    std::vector<int32_t> ids(wide->begin(), wide->end());
    std::string text = shape.echo ? service.tokenizer->decode(ids, false) : std::string();
    add(std::move(ids), std::move(text));
  }

  void add(std::vector<int32_t> ids, std::string text) {
    if (fields.truncate_prompt_tokens) truncate_prompt(ids, *fields.truncate_prompt_tokens, max_length);
    if (ids.empty()) throw RequestError("The decoder prompt cannot be empty");
    const auto count = static_cast<int64_t>(ids.size());
    if (count > max_length) {
      throw RequestError("This maximum context length is " + std::to_string(max_length) +
                         " tokens. However, your request has " + std::to_string(count) +
                         " input tokens. Please reduce the length of the input messages.");
    }
    job.prompts.push_back(std::move(ids));
    if (shape.echo) shape.prompt_texts.push_back(std::move(text));
  }
};

void read_prompts(PromptReader& reader, const Json& prompt, const Limits& limits) {
  if (prompt.is_string()) return reader.add_text(prompt.get_ref<const std::string&>());
  if (!prompt.is_array()) throw bad_prompt(prompt);
  if (prompt.front().is_number()) return reader.add_ids(prompt);
  const auto count = static_cast<int64_t>(prompt.size());
  if (count > limits.prompts || count * reader.job.n > limits.choices) {
    throw RequestError("At most " + std::to_string(limits.prompts) + " prompts and " +
                       std::to_string(limits.choices) + " choices may be asked for in one request.");
  }
  for (const Json& item : prompt) {
    if (item.is_string()) {
      reader.add_text(item.get_ref<const std::string&>());
    } else if (item.is_array()) {
      reader.add_ids(item);
    } else {
      throw bad_prompt(prompt);
    }
  }
}

// Tokens to generate when the request does not say: the rest of the context, or the model's own default if
// shorter.
int64_t rest_of_context(const ServerOptions& options, const Job& job) {
  size_t longest = 0;
  for (const auto& prompt : job.prompts) longest = std::max(longest, prompt.size());
  return options.max_model_len - static_cast<int64_t>(longest);
}

Logprobs wanted_logprobs(const CompletionFields& fields) {
  Logprobs wanted{fields.logprobs, fields.prompt_logprobs};
  if (fields.echo.value_or(false) && !wanted.prompt) wanted.prompt = fields.logprobs;
  return wanted;
}

void refuse_completion_fields(const CompletionFields& fields) {
  if (!fields.suffix.is_null()) throw RequestError("suffix is not currently supported");
  if (!fields.prompt_embeds.is_null()) throw RequestError("`prompt_embeds` is not supported yet.");
  refuse_unsupported(fields);
}

PreparedRequest prepare_completion(const Service& service, const HttpRequest& request) {
  const ServerOptions& options = service.options;
  const Json body = read_json_body(request, options.limits);
  const CompletionFields fields = read_completion_fields(body);
  check_model(fields.model, options);
  refuse_completion_fields(fields);
  std::optional<sampling::GrammarSpec> grammar = read_grammar(fields, options);

  Job job = make_job(service, fields, "cmpl-" + base_request_id(request, fields.request_id));
  CompletionShape shape;
  shape.echo = fields.echo.value_or(false);
  // An explicit null asks for all that fits, an absent field for OpenAI's 16.
  const bool null_max = body.contains("max_tokens") && body["max_tokens"].is_null();
  const int64_t asked = fields.max_tokens.value_or(null_max ? 1 : 16);
  shape.echo_only = shape.echo && asked == 0;
  if (asked < 1 && !shape.echo_only) {
    throw RequestError("max_tokens must be at least 1, got " + std::to_string(asked) + ".");
  }
  const int64_t max_length = options.max_model_len - std::max<int64_t>(asked, 1);
  if (fields.truncate_prompt_tokens && *fields.truncate_prompt_tokens > max_length) {
    throw RequestError("truncate_prompt_tokens (" + std::to_string(*fields.truncate_prompt_tokens) +
                       ") cannot be greater than max_length (" + std::to_string(max_length) +
                       "). Please select a smaller truncation size.");
  }
  PromptReader reader{service, fields, max_length, job, shape};
  read_prompts(reader, fields.prompt, options.limits);

  int64_t max_tokens = null_max ? rest_of_context(options, job) : std::max<int64_t>(asked, 1);
  if (options.defaults.max_new_tokens && *options.defaults.max_new_tokens > 0) {
    max_tokens = std::min(max_tokens, *options.defaults.max_new_tokens);
  }
  job.grammar_spec = std::move(grammar);
  finish_job(service, fields, max_tokens, wanted_logprobs(fields), job, shape);
  auto writer = std::make_unique<CompletionWriter>(job, std::move(shape), token_names(service, fields));
  return {std::move(job), std::move(writer)};
}

}  // namespace

void handle_completions(Service& service, HttpRequest request, ResponderPtr responder) {
  prepare_and_start(service, std::move(request), std::move(responder), &prepare_completion);
}

}  // namespace outrider::server

#include "server/completions.h"

#include <algorithm>

#include "server/json_text.h"
#include "server/logprobs.h"
#include "server/request_common.h"
#include "server/structured_outputs.h"

namespace outrider::server {
namespace {

struct CompletionShape {
  bool echo = false;
  bool echo_only = false;  // echo with max_tokens 0: one token is generated and not shown
  std::optional<int> logprobs;
  bool show_prompt_logprobs = false;
  bool return_token_ids = false;
  bool usage_details = false;
  std::vector<std::string> prompt_texts;  // with echo
};

class CompletionWriter : public ReplyWriter {
 public:
  CompletionWriter(const Job& job, CompletionShape shape, TokenNames names)
      : shape_(std::move(shape)), names_(std::move(names)) {
    head_ = "\"id\":" + json_string(job.id) +
            ",\"object\":\"text_completion\",\"created\":" + std::to_string(job.created) +
            ",\"model\":" + json_string(job.model);
  }

  std::string opening_events(const Job&, const std::vector<Choice>&) override { return {}; }

  std::string event(const Job& job, Choice& choice, const Delta& delta) override {
    const bool echo = shape_.echo && !choice.started;
    std::string text = echo ? shape_.prompt_texts[choice.prompt] : std::string();
    if (!shape_.echo_only) text += delta.text;
    std::string out =
        "data: {" + head_ + ",\"choices\":[{\"index\":" + std::to_string(choice.index) + ",\"text\":";
    append_string(out, text);
    out += ",\"logprobs\":";
    append_logprobs(out, job, choice, echo, delta.tokens, choice.sent_characters);
    choice.sent_characters += count_characters(text);
    out += ",\"finish_reason\":";
    append_finish(out, choice);
    out += ",\"prompt_token_ids\":";
    append_ids(out, shape_.return_token_ids && !choice.started, job.prompts[choice.prompt]);
    out += ",\"token_ids\":";
    append_ids(out, shape_.return_token_ids, delta.tokens);
    out += "}],\"usage\":";
    if (job.continuous_usage) {
      append_usage(out, running_usage(job, choice), shape_.usage_details, true);
    } else {
      out += "null";
    }
    return out + "}\n\n";
  }

  std::string usage_event(const Job&, const Usage& usage) override {
    std::string out = "data: {" + head_ + ",\"choices\":[],\"usage\":";
    append_usage(out, usage, shape_.usage_details, false);
    return out + "}\n\n";
  }

  std::string whole(const Job& job, const std::vector<Choice>& choices, const Usage& usage) override {
    std::string out = "{" + head_ + ",\"choices\":[";
    for (size_t i = 0; i < choices.size(); ++i) {
      if (i > 0) out += ',';
      append_choice(out, job, choices[i]);
    }
    out += "],\"service_tier\":null,\"system_fingerprint\":null,\"usage\":";
    append_usage(out, usage, shape_.usage_details, true);
    return out + ",\"kv_transfer_params\":null}";
  }

 private:
  static Usage running_usage(const Job& job, const Choice& choice) {
    return {static_cast<int64_t>(job.prompts[choice.prompt].size()), choice.num_tokens,
            choice.num_cached_tokens};
  }

  static void append_finish(std::string& out, const Choice& choice) {
    if (choice.done()) {
      append_string(out, choice.finish_reason);
    } else {
      out += "null";
    }
    out += ",\"stop_reason\":";
    append_stop_reason(out, choice.stop_reason);
  }

  void append_choice(std::string& out, const Job& job, const Choice& choice) const {
    out += "{\"index\":" + std::to_string(choice.index) + ",\"text\":";
    std::string text = shape_.echo ? shape_.prompt_texts[choice.prompt] : std::string();
    if (!shape_.echo_only) text += choice.text.text();
    append_string(out, text);
    out += ",\"logprobs\":";
    append_logprobs(out, job, choice, shape_.echo, choice.tokens, 0);
    out += ",\"finish_reason\":";
    append_finish(out, choice);
    out += ",\"token_ids\":";
    append_ids(out, shape_.return_token_ids, choice.tokens);
    out += ",\"prompt_logprobs\":";
    if (shape_.show_prompt_logprobs) {
      append_prompt_logprobs(out, choice.prompt_logprobs, names_);
    } else {
      out += "null";
    }
    out += ",\"prompt_token_ids\":";
    append_ids(out, shape_.return_token_ids, job.prompts[choice.prompt]);
    out += '}';
  }

  void append_logprobs(std::string& out, const Job& job, const Choice& choice, bool with_prompt,
                       const std::vector<engine::OutputToken>& tokens, size_t first_offset) const {
    if (!shape_.logprobs) {
      out += "null";
      return;
    }
    std::vector<LogprobPosition> positions;
    if (with_prompt) {
      const std::vector<int32_t>& prompt = job.prompts[choice.prompt];
      for (size_t i = 0; i < prompt.size(); ++i) {
        const bool known = i > 0 && i - 1 < choice.prompt_logprobs.size();
        positions.push_back({prompt[i], known ? &choice.prompt_logprobs[i - 1] : nullptr});
      }
    }
    if (!shape_.echo_only) {
      for (const engine::OutputToken& token : tokens) {
        positions.push_back({token.token, token.has_logprobs ? &token.logprobs : nullptr});
      }
    }
    append_completion_logprobs(out, positions, *shape_.logprobs, first_offset, names_);
  }

  CompletionShape shape_;
  TokenNames names_;
  std::string head_;  // id, object, created, model
};

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

}  // namespace

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
  const Logprobs wanted = wanted_logprobs(fields);
  job.params = make_sampling_params(fields, options, *service.tokenizer, max_tokens, wanted);
  job.text = make_text_options(fields, job.params);
  job.grammar_spec = std::move(grammar);
  apply_engine_rules(fields, options, wanted, job);

  if (fields.logprobs) shape.logprobs = job.params.logprobs;
  shape.show_prompt_logprobs = wanted.prompt.has_value();
  shape.return_token_ids = fields.return_token_ids.value_or(false);
  shape.usage_details = options.enable_prompt_tokens_details;
  job.keep_tokens = shape.logprobs || shape.return_token_ids;
  const bool as_ids = fields.return_tokens_as_token_ids.value_or(options.return_tokens_as_token_ids);
  auto writer =
      std::make_unique<CompletionWriter>(job, std::move(shape), TokenNames(service.tokenizer, as_ids));
  return {std::move(job), std::move(writer)};
}

void handle_completions(Service& service, HttpRequest request, ResponderPtr responder) {
  prepare_and_start(service, std::move(request), std::move(responder), &prepare_completion);
}

}  // namespace outrider::server

#include "server/sampling_request.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/python_float.h"
#include "base/python_repr.h"

namespace outrider::server {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw RequestError(message); }

std::string text_of(int64_t value) { return std::to_string(value); }

void check_count_fields(const GenerationFields& fields, const Limits& limits) {
  const int64_t n = fields.n.value_or(1);
  if (n < 1) refuse("n must be at least 1, got " + text_of(n) + ".");
  if (n > limits.n) refuse("n must be at most " + text_of(limits.n) + ", got " + text_of(n) + ".");
}

void check_penalties(const sampling::SamplingParams& params) {
  if (params.presence_penalty < -2 || params.presence_penalty > 2) {
    refuse("presence_penalty must be in [-2, 2], got " + python_float(params.presence_penalty) + ".");
  }
  if (params.frequency_penalty < -2 || params.frequency_penalty > 2) {
    refuse("frequency_penalty must be in [-2, 2], got " + python_float(params.frequency_penalty) + ".");
  }
  if (params.repetition_penalty <= 0) {
    refuse("repetition_penalty must be greater than zero, got " + python_float(params.repetition_penalty) +
           ".");
  }
}

void check_distribution(const sampling::SamplingParams& params) {
  if (params.temperature < 0) {
    refuse("temperature must be non-negative, got " + python_float(params.temperature) + ".");
  }
  if (!(params.top_p > 0 && params.top_p <= 1)) {
    refuse("top_p must be in (0, 1], got " + python_float(params.top_p) + ".");
  }
  if (params.top_k < -1) {
    refuse("top_k must be 0 (disable), or at least 1, got " + text_of(params.top_k) + ".");
  }
  if (!(params.min_p >= 0 && params.min_p <= 1)) {
    refuse("min_p must be in [0, 1], got " + python_float(params.min_p) + ".");
  }
}

void check_stop_strings(const StringList& stop, const Limits& limits) {
  if (stop.values.size() > static_cast<size_t>(limits.stop_strings)) {
    refuse("stop must have at most " + text_of(limits.stop_strings) + " strings, got " +
           text_of(static_cast<int64_t>(stop.values.size())) + ".");
  }
  for (const std::string& text : stop.values) {
    if (text.empty()) refuse("stop cannot contain an empty string.");
    if (text.size() > limits.stop_bytes) {
      refuse("stop strings must be at most " + text_of(static_cast<int64_t>(limits.stop_bytes)) +
             " bytes long.");
    }
  }
}

int64_t parse_token_key(const std::string& key) {
  int64_t id = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  if (error == std::errc::result_out_of_range) return std::numeric_limits<int64_t>::max();
  if (key.empty() || error != std::errc() || end != key.data() + key.size()) {
    refuse("invalid literal for int() with base 10: " + python_repr(Json(key), 200));
  }
  return id;
}

std::vector<std::pair<int32_t, float>> make_logit_bias(const Json& object, const ServerOptions& options) {
  std::vector<std::pair<int32_t, float>> result;
  if (!object.is_object()) return result;
  if (object.size() > static_cast<size_t>(options.limits.logit_bias)) {
    refuse("logit_bias must have at most " + text_of(options.limits.logit_bias) + " entries.");
  }
  FieldErrors errors;
  for (const auto& [key, value] : object.items()) {
    const int64_t id = parse_token_key(key);
    std::optional<double> bias;
    if (value.is_null()) {
      errors.add("float_type", place_of("logit_bias") + place_of(key), "Input should be a valid number",
                 value);
    } else {
      read_value(value, place_of("logit_bias") + place_of(key), {}, errors, bias);
    }
    // Ids outside the vocabulary are reported by check_engine_rules.
    if (bias && id >= 0 && id < options.vocab_size) {
      result.emplace_back(static_cast<int32_t>(id), static_cast<float>(std::clamp(*bias, -100.0, 100.0)));
    }
  }
  errors.throw_if_any();
  return result;
}

// A bad word is barred as it stands and, where that is as many tokens and starts differently, after a space.
std::vector<std::vector<int32_t>> make_bad_words(const StringList& words,
                                                 const tokenizer::Tokenizer& tokenizer,
                                                 const Limits& limits) {
  if (words.values.size() > static_cast<size_t>(limits.stop_strings)) {
    refuse("bad_words must have at most " + text_of(limits.stop_strings) + " words.");
  }
  std::vector<std::vector<int32_t>> result;
  for (const std::string& word : words.values) {
    const size_t start = word.find_first_not_of(" \t\n\r\f\v");
    if (start == std::string::npos) refuse("bad_words cannot contain an empty string.");
    if (word.size() > limits.stop_bytes)
      refuse("bad_words must be at most " + text_of(limits.stop_bytes) + " bytes long.");
    const std::string bare = word.substr(start);
    std::vector<int32_t> ids = tokenizer.encode(bare, false);
    std::vector<int32_t> spaced = tokenizer.encode(" " + bare, false);
    if (ids.empty()) continue;
    const bool both = spaced.size() == ids.size() && spaced.front() != ids.front();
    result.push_back(std::move(ids));
    if (both) result.push_back(std::move(spaced));
  }
  return result;
}

// vLLM ends on the tokenizer's own eos without a stop_reason; the model's further eos ids act as
// stop_token_ids.
void set_stop_ids(const GenerationFields& fields, const ServerOptions& options, int32_t tokenizer_eos,
                  sampling::SamplingParams& params) {
  for (const int64_t id : fields.stop_token_ids.value_or(std::vector<int64_t>{})) {
    if (id >= 0 && id < options.vocab_size) params.stop_token_ids.push_back(static_cast<int32_t>(id));
  }
  params.ignore_eos = fields.ignore_eos.value_or(false);
  if (params.ignore_eos) return;
  const bool known = tokenizer_eos >= 0;
  if (known) params.eos_token_ids.push_back(tokenizer_eos);
  for (const int32_t id : options.eos_token_ids) {
    if (id == tokenizer_eos) continue;
    (known ? params.stop_token_ids : params.eos_token_ids).push_back(id);
  }
}

void make_greedy_exact(sampling::SamplingParams& params) {
  if (params.temperature > 0) {
    params.temperature = std::max(params.temperature, 0.01);  // smaller ones overflow the softmax
    return;
  }
  params.top_p = 1.0;
  params.top_k = 0;
  params.min_p = 0.0;
}

void check_logprob_cap(std::optional<int64_t> wanted, const char* kind, const ServerOptions& options) {
  const int64_t cap = options.max_logprobs < 0 ? options.vocab_size : options.max_logprobs;
  if (wanted && *wanted > cap) {
    refuse(std::string("Requested ") + kind + " logprobs of " + text_of(*wanted) +
           ", which is is greater than max allowed: " + text_of(cap));
  }
}

std::optional<int> narrow(std::optional<int64_t> value) {
  if (!value) return std::nullopt;
  return static_cast<int>(std::clamp<int64_t>(*value, 0, std::numeric_limits<int>::max()));
}

}  // namespace

void refuse_unsupported(const GenerationFields& fields) {
  const auto refuse_field = [](const char* name) {
    refuse(std::string("`") + name + "` is not supported yet.");
  };
  if (fields.use_beam_search.value_or(false)) refuse_field("use_beam_search");
  if (!fields.logits_processors.is_null() && !fields.logits_processors.empty())
    refuse_field("logits_processors");
}

sampling::SamplingParams make_sampling_params(const GenerationFields& fields, const ServerOptions& options,
                                              const tokenizer::Tokenizer& tokenizer, int64_t max_tokens,
                                              Logprobs logprobs) {
  const model::GenerationDefaults& defaults = options.defaults;
  sampling::SamplingParams params;
  params.temperature = fields.temperature.value_or(defaults.temperature.value_or(1.0));
  params.top_p = fields.top_p.value_or(defaults.top_p.value_or(1.0));
  params.top_k = fields.top_k.value_or(defaults.top_k.value_or(0));
  params.min_p = fields.min_p.value_or(defaults.min_p.value_or(0.0));
  params.repetition_penalty = fields.repetition_penalty.value_or(defaults.repetition_penalty.value_or(1.0));
  params.presence_penalty = fields.presence_penalty.value_or(0.0);
  params.frequency_penalty = fields.frequency_penalty.value_or(0.0);
  params.max_tokens = max_tokens;
  params.min_tokens = fields.min_tokens.value_or(0);

  check_count_fields(fields, options.limits);
  check_penalties(params);
  check_distribution(params);
  if (params.min_tokens < 0) {
    refuse("min_tokens must be greater than or equal to 0, got " + text_of(params.min_tokens) + ".");
  }
  if (params.min_tokens > max_tokens) {
    refuse("min_tokens must be less than or equal to max_tokens=" + text_of(max_tokens) + ", got " +
           text_of(params.min_tokens) + ".");
  }
  check_stop_strings(fields.stop, options.limits);
  const int64_t n = fields.n.value_or(1);
  if (fields.best_of && *fields.best_of < n) {
    refuse("best_of must be greater than or equal to n, got n=" + text_of(n) +
           " and best_of=" + text_of(*fields.best_of) + ".");
  }
  if (params.temperature == 0 && n > 1) {
    refuse("n must be 1 when using greedy sampling, got " + text_of(n) + ".");
  }
  params.top_k = std::max<int64_t>(params.top_k, 0);
  make_greedy_exact(params);
  params.logit_bias = make_logit_bias(fields.logit_bias, options);
  params.bad_words = make_bad_words(fields.bad_words, tokenizer, options.limits);
  set_stop_ids(fields, options, tokenizer.eos_id(), params);
  for (const int64_t id : fields.allowed_token_ids.value_or(std::vector<int64_t>{})) {
    if (id >= 0 && id < options.vocab_size) params.allowed_token_ids.push_back(static_cast<int32_t>(id));
  }
  params.logprobs = narrow(logprobs.sample);
  params.prompt_logprobs = narrow(logprobs.prompt);
  params.processed_logprobs = options.processed_logprobs;
  params.logprobs_are_logits = options.logprobs_are_logits;
  return params;
}

void check_engine_rules(const GenerationFields& fields, const ServerOptions& options, Logprobs logprobs) {
  check_logprob_cap(logprobs.sample, "sample", options);
  check_logprob_cap(logprobs.prompt, "prompt", options);
  if (fields.best_of && *fields.best_of > 1) refuse("vLLM V1 does not yet support best_of.");
  if (fields.logit_bias.is_object()) {
    std::string outside;
    for (const auto& [key, value] : fields.logit_bias.items()) {
      const int64_t id = parse_token_key(key);
      if (id >= 0 && id < options.vocab_size) continue;
      outside += (outside.empty() ? "" : ", ") + key.substr(0, 32);
      if (outside.size() > 200) break;
    }
    if (!outside.empty()) {
      refuse("token_id(s) [" + outside + "] in logit_bias contain out-of-vocab token ids. Vocabulary size: " +
             text_of(options.vocab_size));
    }
  }
  if (!fields.allowed_token_ids) return;
  if (fields.allowed_token_ids->empty()) refuse("allowed_token_ids is not None and empty!");
  for (const int64_t id : *fields.allowed_token_ids) {
    if (id < 0 || id >= options.vocab_size) refuse("allowed_token_ids contains out-of-vocab token id!");
  }
}

void check_token_ids(const std::vector<int64_t>& ids, int vocab_size) {
  for (const int64_t id : ids) {
    if (id < 0 || id >= vocab_size) refuse("Token id " + text_of(id) + " is out of vocabulary");
  }
}

engine::TextOptions make_text_options(const GenerationFields& fields,
                                      const sampling::SamplingParams& params) {
  engine::TextOptions text;
  text.stop = fields.stop.values;
  text.include_stop_str_in_output = fields.include_stop_str_in_output.value_or(false);
  text.skip_special_tokens = fields.skip_special_tokens.value_or(true);
  text.min_tokens = params.min_tokens;
  return text;
}

}  // namespace outrider::server

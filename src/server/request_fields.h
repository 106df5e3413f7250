// Bodies of the POST routes as typed fields: the first stage of validation (what vLLM's request models
// check).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/schema.h"

namespace outrider::server {

struct StreamOptions {
  std::optional<bool> include_usage, continuous_usage_stats;
};

// What completions and chat have in common.
struct GenerationFields {
  std::optional<std::string> model, request_id, cache_salt;
  std::optional<int64_t> n, best_of, max_tokens, min_tokens, seed, top_k, priority, prompt_logprobs;
  std::optional<int64_t> truncate_prompt_tokens;
  std::optional<double> temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<bool> stream, echo, ignore_eos, include_stop_str_in_output, skip_special_tokens,
      add_special_tokens;
  std::optional<bool> use_beam_search, return_tokens_as_token_ids, return_token_ids;
  StringList stop, bad_words;
  std::optional<std::vector<int64_t>> stop_token_ids, allowed_token_ids;
  Json logit_bias, stream_options_json, response_format, logits_processors;
  Json guided_json, guided_regex, guided_choice, guided_grammar, guided_decoding_backend,
      guided_whitespace_pattern, structured_outputs;
  std::optional<StreamOptions> stream_options;

  bool streaming() const { return stream.value_or(false); }
};

struct CompletionFields : GenerationFields {
  Json prompt, prompt_embeds, suffix;
  std::optional<int64_t> logprobs;
};

struct ChatFields : GenerationFields {
  Json messages, tools, tool_choice, chat_template_kwargs, documents, structural_tag;
  std::optional<std::string> chat_template;
  std::optional<int64_t> max_completion_tokens, top_logprobs;
  std::optional<bool> logprobs, add_generation_prompt, continue_final_message, parallel_tool_calls;
};

struct TokenizeFields {
  std::optional<std::string> model, prompt, chat_template;
  Json messages, tools, chat_template_kwargs, documents;
  std::optional<bool> add_special_tokens, return_token_strs, add_generation_prompt, continue_final_message;
};

struct DetokenizeFields {
  std::optional<std::string> model;
  std::optional<std::vector<int64_t>> tokens;
};

// Each throws RequestError of type "Bad Request" (the V rows of vLLM's validation texts).
CompletionFields read_completion_fields(const Json& body);
ChatFields read_chat_fields(const Json& body);
TokenizeFields read_tokenize_fields(const Json& body);
DetokenizeFields read_detokenize_fields(const Json& body);

}  // namespace outrider::server

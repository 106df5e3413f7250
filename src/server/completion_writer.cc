#include "server/completion_writer.h"

#include "base/json_string.h"
#include "server/json_text.h"

namespace outrider::server {
namespace {

Usage running_usage(const Job& job, const Choice& choice) {
  return {static_cast<int64_t>(job.prompts[choice.prompt].size()), choice.num_tokens,
          choice.num_cached_tokens};
}

void append_finish(std::string& out, const Choice& choice) {
  if (choice.done()) {
    append_json_string(out, choice.finish_reason);
  } else {
    out += "null";
  }
  out += ",\"stop_reason\":";
  append_stop_reason(out, choice.stop_reason);
}

}  // namespace

CompletionWriter::CompletionWriter(const Job& job, CompletionShape shape, TokenNames names)
    : shape_(std::move(shape)), names_(std::move(names)), head_(reply_head(job, "text_completion")) {}

std::string CompletionWriter::opening_events(const Job&, const std::vector<Choice>&) { return {}; }

std::string CompletionWriter::event(const Job& job, Choice& choice, const Delta& delta) {
  const bool echo = shape_.echo && !choice.started;
  std::string text = echo ? shape_.prompt_texts[choice.prompt] : std::string();
  if (!shape_.echo_only) text += delta.text;
  std::string out =
      "data: {" + head_ + ",\"choices\":[{\"index\":" + std::to_string(choice.index) + ",\"text\":";
  append_json_string(out, text);
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

std::string CompletionWriter::usage_event(const Usage& usage) {
  std::string out = "data: {" + head_ + ",\"choices\":[],\"usage\":";
  append_usage(out, usage, shape_.usage_details, false);
  return out + "}\n\n";
}

std::string CompletionWriter::whole(const Job& job, const std::vector<Choice>& choices, const Usage& usage) {
  std::string out = "{" + head_ + ",\"choices\":[";
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) out += ',';
    append_choice(out, job, choices[i]);
  }
  out += "],\"service_tier\":null,\"system_fingerprint\":null,\"usage\":";
  append_usage(out, usage, shape_.usage_details, true);
  return out + ",\"kv_transfer_params\":null}";
}

void CompletionWriter::append_choice(std::string& out, const Job& job, const Choice& choice) const {
  out += "{\"index\":" + std::to_string(choice.index) + ",\"text\":";
  std::string text = shape_.echo ? shape_.prompt_texts[choice.prompt] : std::string();
  if (!shape_.echo_only) text += choice.text.text();
  append_json_string(out, text);
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

void CompletionWriter::append_logprobs(std::string& out, const Job& job, const Choice& choice,
                                       bool with_prompt, const std::vector<engine::OutputToken>& tokens,
                                       size_t first_offset) const {
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

}  // namespace outrider::server

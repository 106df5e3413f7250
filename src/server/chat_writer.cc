#include "server/chat_writer.h"

#include "base/json_string.h"
#include "server/json_text.h"
#include "server/random_id.h"

namespace outrider::server {
namespace {

void append_tool_calls(std::string& out, const std::vector<chat::ToolCall>& calls) {
  out += '[';
  for (size_t i = 0; i < calls.size(); ++i) {
    if (i > 0) out += ',';
    out += "{\"id\":\"chatcmpl-tool-" + random_id() + "\",\"type\":\"function\",\"function\":{\"name\":";
    append_json_string(out, calls[i].name);
    out += ",\"arguments\":";
    append_json_string(out, calls[i].arguments);
    out += "}}";
  }
  out += ']';
}

}  // namespace

ChatWriter::ChatWriter(const Job& job, ChatShape shape, TokenNames names)
    : shape_(std::move(shape)),
      names_(std::move(names)),
      head_(reply_head(job, "chat.completion")),
      chunk_head_(reply_head(job, "chat.completion.chunk")) {}

std::string ChatWriter::event_head(int index) const {
  return "data: {" + chunk_head_ + ",\"choices\":[{\"index\":" + std::to_string(index) + ",\"delta\":";
}

void ChatWriter::append_event_tail(std::string& out, const Job& job, const Choice& choice,
                                   int64_t completion_tokens) const {
  out += "}]";
  if (!job.continuous_usage) return;
  out += ",\"usage\":";
  const auto prompt_tokens = static_cast<int64_t>(job.prompts[choice.prompt].size());
  append_usage(out, {prompt_tokens, completion_tokens, choice.num_cached_tokens}, shape_.usage_details,
               false);
}

// The role of every choice, and what it echoes.
std::string ChatWriter::opening_events(const Job& job, const std::vector<Choice>& choices) {
  std::string out;
  const auto append_delta = [&](const Choice& choice, const std::string& delta) {
    out += event_head(choice.index) + delta + ",\"logprobs\":null,\"finish_reason\":null";
    append_event_tail(out, job, choice, 0);
  };
  for (const Choice& choice : choices) {
    append_delta(choice, "{\"role\":" + json_string(shape_.role) + ",\"content\":\"\"}");
    out += ",\"prompt_token_ids\":";
    append_ids(out, shape_.return_token_ids, job.prompts[choice.prompt]);
    out += "}\n\n";
  }
  if (shape_.echo.empty()) return out;
  for (const Choice& choice : choices) {
    append_delta(choice, "{\"content\":" + json_string(shape_.echo) + "}");
    out += "}\n\n";
  }
  return out;
}

std::string ChatWriter::event(const Job& job, Choice& choice, const Delta& delta) {
  std::string out = event_head(choice.index);
  bool saw_calls = false;
  if (!shape_.named_tool.empty()) {
    saw_calls = true;
    append_tool_delta(out, named_delta(choice, delta));
  } else if (shape_.tools) {
    chat::ToolStream& tools = tool_streams_.try_emplace(choice.index, *shape_.tools).first->second;
    chat::ToolDelta step = tools.push(delta.text);
    if (choice.done()) {
      chat::ToolDelta rest = tools.finish();
      step.content += rest.content;
      step.calls.insert(step.calls.end(), std::make_move_iterator(rest.calls.begin()),
                        std::make_move_iterator(rest.calls.end()));
    }
    if (shape_.one_call) std::erase_if(step.calls, [](const auto& call) { return call.index > 0; });
    saw_calls = tools.saw_calls();
    // Text that may yet turn out to be a call is held back: nothing to say in this step.
    if (step.content.empty() && step.calls.empty() && !choice.done()) return {};
    append_tool_delta(out, step);
  } else {
    out += "{\"content\":";
    append_json_string(out, delta.text);
    out += '}';
  }
  out += ",\"logprobs\":";
  append_logprobs(out, delta.tokens);
  out += ",\"finish_reason\":";
  if (choice.done()) {
    append_json_string(out,
                       saw_calls && choice.finish_reason == "stop" ? "tool_calls" : choice.finish_reason);
    out += ",\"stop_reason\":";
    append_stop_reason(out, choice.stop_reason);
  } else {
    out += "null";
  }
  out += ",\"token_ids\":";
  append_ids(out, shape_.return_token_ids, delta.tokens);
  append_event_tail(out, job, choice, choice.num_tokens);
  return out + "}\n\n";
}

chat::ToolDelta ChatWriter::named_delta(const Choice& choice, const Delta& delta) const {
  return {{}, {{0, choice.started ? std::string() : shape_.named_tool, delta.text}}};
}

void ChatWriter::append_tool_delta(std::string& out, const chat::ToolDelta& delta) const {
  out += '{';
  if (!delta.content.empty() || delta.calls.empty()) {
    out += "\"content\":";
    append_json_string(out, delta.content);
    if (!delta.calls.empty()) out += ',';
  }
  if (!delta.calls.empty()) out += "\"tool_calls\":[";
  for (size_t i = 0; i < delta.calls.size(); ++i) {
    const chat::ToolDelta::Call& call = delta.calls[i];
    if (i > 0) out += ',';
    out += '{';
    const bool opens = !call.name.empty();
    if (opens) {
      out += "\"id\":\"chatcmpl-tool-" + random_id() + "\",\"type\":\"function\",";
    } else if (shape_.tools == chat::ToolFormat::kPythonic) {
      out += "\"id\":null,";
    }
    out += "\"index\":" + std::to_string(call.index) + ",\"function\":{";
    if (opens) {
      out += "\"name\":";
      append_json_string(out, call.name);
    }
    if (!call.arguments.empty() || !opens) {
      if (opens) out += ',';
      out += "\"arguments\":";
      append_json_string(out, call.arguments);
    }
    out += "}}";
  }
  if (!delta.calls.empty()) out += ']';
  out += '}';
}

std::string ChatWriter::usage_event(const Usage& usage) {
  std::string out = "data: {" + chunk_head_ + ",\"choices\":[],\"usage\":";
  append_usage(out, usage, shape_.usage_details, false);
  return out + "}\n\n";
}

std::string ChatWriter::whole(const Job& job, const std::vector<Choice>& choices, const Usage& usage) {
  std::string out = "{" + head_ + ",\"choices\":[";
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) out += ',';
    append_choice(out, choices[i]);
  }
  out += "],\"service_tier\":null,\"system_fingerprint\":null,\"usage\":";
  append_usage(out, usage, shape_.usage_details, true);
  out += ",\"prompt_logprobs\":";
  if (shape_.show_prompt_logprobs) {
    append_prompt_logprobs(out, choices.front().prompt_logprobs, names_);
  } else {
    out += "null";
  }
  out += ",\"prompt_token_ids\":";
  append_ids(out, shape_.return_token_ids, job.prompts.front());
  return out + ",\"kv_transfer_params\":null}";
}

void ChatWriter::append_choice(std::string& out, const Choice& choice) const {
  chat::ParsedReply reply;
  if (!shape_.named_tool.empty()) {
    reply.calls.push_back({shape_.named_tool, choice.text.text()});
  } else if (shape_.tools) {
    reply = chat::parse_reply(*shape_.tools, choice.text.text());
    if (shape_.one_call && reply.calls.size() > 1)
      reply.calls.erase(reply.calls.begin() + 1, reply.calls.end());
  } else {
    reply.content = choice.text.text();
  }
  reply.content.insert(0, shape_.echo);
  const bool calls = !reply.calls.empty();
  out += "{\"index\":" + std::to_string(choice.index) + ",\"message\":{\"role\":";
  append_json_string(out, shape_.role);
  out += ",\"content\":";
  if (calls && reply.content.empty() && !shape_.forced_calls) {
    out += "null";
  } else {
    append_json_string(out, reply.content);
  }
  out += ",\"refusal\":null,\"annotations\":null,\"audio\":null,\"function_call\":null,\"tool_calls\":";
  append_tool_calls(out, reply.calls);
  out += ",\"reasoning_content\":null},\"logprobs\":";
  append_logprobs(out, choice.tokens);
  out += ",\"finish_reason\":";
  // In vLLM a forced call stops, in a stream it ends with "tool_calls".
  const bool by_calls = calls && !shape_.forced_calls && choice.finish_reason == "stop";
  append_json_string(out, by_calls ? "tool_calls" : choice.finish_reason);
  out += ",\"stop_reason\":";
  append_stop_reason(out, choice.stop_reason);
  out += ",\"token_ids\":";
  append_ids(out, shape_.return_token_ids, choice.tokens);
  out += '}';
}

void ChatWriter::append_logprobs(std::string& out, const std::vector<engine::OutputToken>& tokens) const {
  if (!shape_.logprobs) {
    out += "null";
    return;
  }
  std::vector<LogprobPosition> positions;
  for (const engine::OutputToken& token : tokens) {
    if (token.has_logprobs) positions.push_back({token.token, &token.logprobs});
  }
  append_chat_logprobs(out, positions, *shape_.logprobs, names_);
}

}  // namespace outrider::server

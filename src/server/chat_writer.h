// The shapes of chat answers: whole, streamed, with tool calls.
#pragma once

#include <map>

#include "chat/tool_parser.h"
#include "server/logprobs.h"
#include "server/reply_writer.h"

namespace outrider::server {

struct ChatShape : ReplyShape {
  std::string role = "assistant";
  std::string echo;                       // text of the last message, put before the reply
  std::optional<chat::ToolFormat> tools;  // set when the reply may hold tool calls
  bool forced_calls = false;              // tool_choice left it nothing else,
  std::string named_tool;                 // or even named the function: the reply is its arguments
  bool one_call = false;                  // parallel_tool_calls is false: calls after the first are left out
};

class ChatWriter : public ReplyWriter {
 public:
  ChatWriter(const Job& job, ChatShape shape, TokenNames names);

  std::string opening_events(const Job& job, const std::vector<Choice>& choices) override;
  std::string event(const Job& job, Choice& choice, const Delta& delta) override;
  std::string usage_event(const Usage& usage) override;
  std::string whole(const Job& job, const std::vector<Choice>& choices, const Usage& usage) override;

 private:
  // "data: {...,"choices":[{"index":I,"delta":"
  std::string event_head(int index) const;
  void append_event_tail(std::string& out, const Job& job, const Choice& choice,
                         int64_t completion_tokens) const;
  void append_logprobs(std::string& out, const std::vector<engine::OutputToken>& tokens) const;
  chat::ToolDelta named_delta(const Choice& choice, const Delta& delta) const;
  void append_tool_delta(std::string& out, const chat::ToolDelta& delta) const;
  void append_choice(std::string& out, const Choice& choice) const;

  ChatShape shape_;
  TokenNames names_;
  std::string head_, chunk_head_;                 // id, object, created, model
  std::map<int, chat::ToolStream> tool_streams_;  // by choice
};

}  // namespace outrider::server

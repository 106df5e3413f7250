// The shapes of completions' answers: whole, streamed, with the prompt before them.
#pragma once

#include <string>
#include <vector>

#include "server/logprobs.h"
#include "server/reply_writer.h"

namespace outrider::server {

struct CompletionShape : ReplyShape {
  bool echo = false;
  bool echo_only = false;                 // echo with max_tokens 0: one token is generated and not shown
  std::vector<std::string> prompt_texts;  // with echo
};

class CompletionWriter : public ReplyWriter {
 public:
  CompletionWriter(const Job& job, CompletionShape shape, TokenNames names);

  std::string opening_events(const Job& job, const std::vector<Choice>& choices) override;
  std::string event(const Job& job, Choice& choice, const Delta& delta) override;
  std::string usage_event(const Usage& usage) override;
  std::string whole(const Job& job, const std::vector<Choice>& choices, const Usage& usage) override;

 private:
  void append_choice(std::string& out, const Job& job, const Choice& choice) const;
  void append_logprobs(std::string& out, const Job& job, const Choice& choice, bool with_prompt,
                       const std::vector<engine::OutputToken>& tokens, size_t first_offset) const;

  CompletionShape shape_;
  TokenNames names_;
  std::string head_;  // id, object, created, model
};

}  // namespace outrider::server

// The shape of a route's answers, and the pieces that both routes' answers are made of.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "server/job.h"

namespace outrider::server {

// Knows the shape of a route's answers. Events are complete ("data: ...\n\n"); an empty one is not sent.
class ReplyWriter {
 public:
  virtual ~ReplyWriter() = default;
  virtual std::string opening_events(const Job& job, const std::vector<Choice>& choices) = 0;
  virtual std::string event(const Job& job, Choice& choice, const Delta& delta) = 0;
  virtual std::string usage_event(const Usage& usage) = 0;
  virtual std::string whole(const Job& job, const std::vector<Choice>& choices, const Usage& usage) = 0;
};

// What both routes' answers may show beside their text.
struct ReplyShape {
  std::optional<int> logprobs;  // how many alternatives
  bool show_prompt_logprobs = false;
  bool return_token_ids = false;
  bool usage_details = false;
};

// "id":"...","object":"...","created":1,"model":"..."
std::string reply_head(const Job& job, const char* object);
// {"prompt_tokens":5,"total_tokens":25,"completion_tokens":20[,"prompt_tokens_details":...]}: `details` null
// is printed with `show_null`.
void append_usage(std::string& out, const Usage& usage, bool details, bool show_null);
void append_stop_reason(std::string& out, const StopReason& reason);
// null where they were not asked for.
void append_ids(std::string& out, bool wanted, std::span<const int32_t> ids);
void append_ids(std::string& out, bool wanted, const std::vector<engine::OutputToken>& tokens);

}  // namespace outrider::server

#include "bench/outcome.h"

#include <nlohmann/json.hpp>

#include "client/reply.h"

namespace outrider::bench {
namespace {

using nlohmann::json;

constexpr size_t kMaxTextBytes = 64 << 20;

}  // namespace

void Outcome::fail(std::string kind, const std::string& details) {
  if (!error_kind.empty()) return;
  success = false;
  error = details.empty() ? kind : kind + ": " + details;
  error_kind = std::move(kind);
}

void AnswerReader::push(std::string_view bytes, Clock::time_point arrived) {
  now_ = std::chrono::duration<double>(arrived - sent_).count();
  if (!sse_.push(bytes, [this](std::string_view data) { take_event(data); })) {
    outcome_.fail("event too long in the stream");
  }
}

void AnswerReader::finish() {
  sse_.finish([this](std::string_view data) { take_event(data); });
  if (!has_token_) {
    outcome_.fail("no token in the answer");
  } else if (!is_complete_ && !is_done_) {
    outcome_.fail("stream ended too early", "neither finish_reason nor [DONE] came");
  }
  outcome_.success = outcome_.error_kind.empty();
}

void AnswerReader::take_event(std::string_view data) {
  if (!outcome_.error_kind.empty() || is_done_) return;
  if (data == "[DONE]") {
    is_done_ = true;
    return;
  }
  const json event = json::parse(data, nullptr, /*allow_exceptions=*/false);
  if (!event.is_object()) return outcome_.fail("no JSON in the stream", client::shortened(data));
  if (client::member(event, "error") != nullptr || event.value("object", json()) == "error") {
    return outcome_.fail("error in the stream", client::shortened(client::message_of(event)));
  }
  const json* choices = client::member(event, "choices");
  if (choices == nullptr || !choices->is_array() || choices->empty()) {
    const json* usage = client::member(event, "usage");
    const json* tokens = usage != nullptr ? client::member(*usage, "completion_tokens") : nullptr;
    if (tokens != nullptr && tokens->is_number_unsigned()) outcome_.usage_tokens = tokens->get<int64_t>();
    return;
  }
  const json& choice = (*choices)[0];
  if (client::member(choice, "finish_reason") != nullptr) is_complete_ = true;
  const json* text = client::member(choice, "text");
  if (chat_) {
    const json* delta = client::member(choice, "delta");
    const json* role = delta != nullptr ? client::member(*delta, "role") : nullptr;
    text = delta != nullptr ? client::member(*delta, "content") : nullptr;
    // The chunk with the role is sent before there is a token.
    if (!has_token_ && role != nullptr && (text == nullptr || *text == "")) return;
  }
  take_token();
  if (text == nullptr || !text->is_string()) return;
  outcome_.text += text->get_ref<const std::string&>();
  if (outcome_.text.size() > kMaxTextBytes) outcome_.fail("answer too long");
}

void AnswerReader::take_token() {
  if (!has_token_) {
    outcome_.ttft = now_;
  } else {
    outcome_.itl.push_back(now_ - outcome_.latency);
  }
  has_token_ = true;
  outcome_.latency = now_;
}

}  // namespace outrider::bench

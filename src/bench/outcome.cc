#include "bench/outcome.h"

#include <nlohmann/json.hpp>

#include "base/utf8.h"

namespace outrider::bench {
namespace {

using nlohmann::json;

constexpr size_t kMaxTextBytes = 64 << 20;
constexpr size_t kMaxMessageBytes = 300;

std::string shortened(std::string_view text) {
  std::string line = to_valid_utf8(text.substr(0, kMaxMessageBytes));
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return text.size() > kMaxMessageBytes ? line + "..." : line;
}

const json* member(const json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// OpenAI's {"error": {"message": ...}}, and the older {"object": "error", "message": ...}.
std::string message_of(const json& body) {
  const json* error = member(body, "error");
  if (error != nullptr && error->is_string()) return error->get<std::string>();
  const json* message = member(error != nullptr ? *error : body, "message");
  return message != nullptr && message->is_string() ? message->get<std::string>() : "";
}

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
  if (!event.is_object()) return outcome_.fail("no JSON in the stream", shortened(data));
  if (member(event, "error") != nullptr || event.value("object", json()) == "error") {
    return outcome_.fail("error in the stream", shortened(message_of(event)));
  }
  const json* choices = member(event, "choices");
  if (choices == nullptr || !choices->is_array() || choices->empty()) {
    const json* usage = member(event, "usage");
    const json* tokens = usage != nullptr ? member(*usage, "completion_tokens") : nullptr;
    if (tokens != nullptr && tokens->is_number_unsigned()) outcome_.usage_tokens = tokens->get<int64_t>();
    return;
  }
  const json& choice = (*choices)[0];
  if (member(choice, "finish_reason") != nullptr) is_complete_ = true;
  const json* text = member(choice, "text");
  if (chat_) {
    const json* delta = member(choice, "delta");
    const json* role = delta != nullptr ? member(*delta, "role") : nullptr;
    text = delta != nullptr ? member(*delta, "content") : nullptr;
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

std::string error_message(std::string_view body) {
  const json parsed = json::parse(body, nullptr, /*allow_exceptions=*/false);
  const std::string message = message_of(parsed);
  return shortened(message.empty() ? body : std::string_view(message));
}

}  // namespace outrider::bench

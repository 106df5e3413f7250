#include "server/reply_writer.h"

#include "base/json_string.h"
#include "server/json_text.h"

namespace outrider::server {

std::string reply_head(const Job& job, const char* object) {
  return "\"id\":" + json_string(job.id) + ",\"object\":\"" + object +
         "\",\"created\":" + std::to_string(job.created) + ",\"model\":" + json_string(job.model);
}

void append_usage(std::string& out, const Usage& usage, bool details, bool show_null) {
  out += "{\"prompt_tokens\":" + std::to_string(usage.prompt_tokens) +
         ",\"total_tokens\":" + std::to_string(usage.prompt_tokens + usage.completion_tokens) +
         ",\"completion_tokens\":" + std::to_string(usage.completion_tokens);
  if (details && usage.cached_tokens > 0) {
    out += ",\"prompt_tokens_details\":{\"cached_tokens\":" + std::to_string(usage.cached_tokens) + "}";
  } else if (show_null) {
    out += ",\"prompt_tokens_details\":null";
  }
  out += '}';
}

void append_stop_reason(std::string& out, const StopReason& reason) {
  if (const auto* text = std::get_if<std::string>(&reason)) {
    append_json_string(out, *text);
  } else if (const auto* id = std::get_if<int32_t>(&reason)) {
    out += std::to_string(*id);
  } else {
    out += "null";
  }
}

void append_ids(std::string& out, bool wanted, std::span<const int32_t> ids) {
  if (wanted) {
    append_ids(out, ids);
  } else {
    out += "null";
  }
}

void append_ids(std::string& out, bool wanted, const std::vector<engine::OutputToken>& tokens) {
  std::vector<int32_t> ids;
  if (wanted) {
    for (const engine::OutputToken& token : tokens) ids.push_back(token.token);
  }
  append_ids(out, wanted, std::span<const int32_t>(ids));
}

}  // namespace outrider::server

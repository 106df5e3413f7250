#include "bench/request_body.h"

#include "chat/python_json.h"

namespace outrider::bench {
namespace {

using chat::Json;

Json completion_body(const config::BenchServeOptions& options, const std::string& model,
                     const SampleRequest& request) {
  return {{"model", model},
          {"prompt", request.prompt},
          {"temperature", 0.0},
          {"repetition_penalty", 1.0},
          {"max_tokens", request.output_len},
          {"logprobs", options.logprobs ? Json(*options.logprobs) : Json()},
          {"stream", true},
          {"stream_options", {{"include_usage", true}}}};
}

Json chat_body(const std::string& model, const SampleRequest& request) {
  const Json part = {{"type", "text"}, {"text", request.prompt}};
  return {
      {"model", model},     {"messages", Json::array({{{"role", "user"}, {"content", Json::array({part})}}})},
      {"temperature", 0.0}, {"max_completion_tokens", request.output_len},
      {"stream", true},     {"stream_options", {{"include_usage", true}}}};
}

}  // namespace

std::string request_body(const config::BenchServeOptions& options, const std::string& model,
                         const SampleRequest& request) {
  Json body = options.chat ? chat_body(model, request) : completion_body(options, model, request);
  if (options.ignore_eos) body["ignore_eos"] = true;
  body.update(options.extra_body);
  return chat::python_json(body, -1, /*ensure_ascii=*/true);
}

}  // namespace outrider::bench

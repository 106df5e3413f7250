#include "server/web_page.h"

#include "base/json_string.h"
#include "base/python_float.h"
#include "server/errors.h"
#include "web/assets.h"

namespace outrider::server {
namespace {

// Scripts, styles and connections of this server only; nothing inline; in no other site's frame.
constexpr char kPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

void send_asset(std::string_view name, const ResponderPtr& responder) {
  const web::Asset* asset = web::find_asset(name);
  if (asset == nullptr) return responder->send(detail_response(404, "Not Found"));
  HttpResponse response;
  response.content_type = web::content_type(*asset);
  response.body = asset->body;
  response.headers = {{"content-security-policy", kPolicy},
                      {"x-content-type-options", "nosniff"},
                      {"referrer-policy", "no-referrer"},
                      {"cache-control", "no-cache"}};
  responder->send(std::move(response));
}

std::string number_or_null(const std::optional<double>& value) {
  return value ? python_float(*value) : "null";
}

}  // namespace

void handle_web_page(Service&, HttpRequest, ResponderPtr responder) { send_asset("index.html", responder); }

void handle_web_file(Service&, HttpRequest request, ResponderPtr responder) {
  const std::string_view path = request.path();
  send_asset(path.substr(path.rfind('/') + 1), responder);
}

void handle_web_server(Service& service, HttpRequest, ResponderPtr responder) {
  const ServerOptions& options = service.options;
  const Hardware& hardware = options.hardware;
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  HttpResponse response;
  response.headers.emplace_back("cache-control", "no-store");
  response.body = "{\"version\":" + json_string(options.version) +
                  ",\"model\":" + json_string(options.served_model_names.front()) +
                  ",\"max_model_len\":" + std::to_string(options.max_model_len) +
                  ",\"max_logprobs\":" + std::to_string(options.max_logprobs) +
                  ",\"temperature\":" + number_or_null(options.defaults.temperature) +
                  ",\"top_p\":" + number_or_null(options.defaults.top_p) +
                  ",\"needs_key\":" + flag(!options.api_keys.empty()) +
                  ",\"metrics\":" + flag(!options.disable_log_stats) +
                  ",\"device\":" + json_string(hardware.device) +
                  ",\"step_weight_bytes\":" + std::to_string(hardware.step_weight_bytes) +
                  ",\"expert_weight_bytes\":" + std::to_string(hardware.expert_weight_bytes) +
                  ",\"num_experts\":" + std::to_string(hardware.num_experts) +
                  ",\"experts_per_token\":" + std::to_string(hardware.experts_per_token) +
                  ",\"memory_bandwidth\":" + python_float(hardware.memory_bandwidth) + "}";
  responder->send(std::move(response));
}

}  // namespace outrider::server

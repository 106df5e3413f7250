#include "server/routes.h"

#include "base/json_string.h"
#include "server/chat_completions.h"
#include "server/completions.h"
#include "server/errors.h"
#include "server/json_text.h"
#include "server/random_id.h"
#include "server/tokenize.h"
#include "server/web_page.h"

namespace outrider::server {
namespace {

HttpResponse empty_response(int status) {
  HttpResponse response;
  response.status = status;
  response.content_type.clear();
  return response;
}

HttpResponse json_response(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  return response;
}

void handle_health(Service& service, HttpRequest, ResponderPtr responder) {
  responder->send(empty_response(service.engine->alive() ? 200 : 503));
}

void handle_version(Service& service, HttpRequest, ResponderPtr responder) {
  responder->send(json_response("{\"version\":" + json_string(service.options.version) + "}"));
}

void handle_load(Service& service, HttpRequest, ResponderPtr responder) {
  const int64_t load = service.options.enable_server_load_tracking ? service.load.load() : 0;
  responder->send(json_response("{\"server_load\":" + std::to_string(load) + "}"));
}

void handle_metrics(Service& service, HttpRequest, ResponderPtr responder) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = service.metrics->exposition();
  responder->send(std::move(response));
}

void handle_models(Service& service, HttpRequest, ResponderPtr responder) {
  const ServerOptions& options = service.options;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const std::string created = std::to_string(std::chrono::duration_cast<std::chrono::seconds>(now).count());
  std::string body = "{\"object\":\"list\",\"data\":[";
  const char* separator = "";
  for (const std::string& name : options.served_model_names) {
    body += separator;
    separator = ",";
    body += "{\"id\":" + json_string(name) + ",\"object\":\"model\",\"created\":" + created +
            ",\"owned_by\":\"vllm\",\"root\":" + json_string(options.model_root) +
            ",\"parent\":null,\"max_model_len\":" + std::to_string(options.max_model_len) +
            ",\"permission\":[{\"id\":\"modelperm-" + random_id() +
            "\",\"object\":\"model_permission\",\"created\":" + created +
            ",\"allow_create_engine\":false,\"allow_sampling\":true,\"allow_logprobs\":true,"
            "\"allow_search_indices\":false,\"allow_view\":true,\"allow_fine_tuning\":false,"
            "\"organization\":\"*\",\"group\":null,\"is_blocking\":false}]}";
  }
  responder->send(json_response(body + "]}"));
}

// SageMaker's one entrance: the body's shape tells the route.
void handle_invocations(Service& service, HttpRequest request, ResponderPtr responder) {
  bool chat = false;
  try {
    chat = parse_body(request.body, service.options.limits.json_depth).contains("messages");
  } catch (const RequestError& error) {
    responder->send(error_response(error));
    return;
  }
  (chat ? handle_chat_completions : handle_completions)(service, std::move(request), std::move(responder));
}

template <const char* kApi>
void handle_unsupported(Service&, HttpRequest, ResponderPtr responder) {
  responder->send(
      error_response(400, "BadRequestError", std::string("The model does not support ") + kApi + " API"));
}
constexpr char kEmbeddings[] = "Embeddings", kPooling[] = "Pooling", kClassification[] = "Classification",
               kScore[] = "Score", kRerank[] = "Rerank (Score)", kTranscriptions[] = "Transcriptions",
               kTranslations[] = "Translations", kSleep[] = "Sleep";

void handle_reset_prefix_cache(Service& service, HttpRequest, ResponderPtr responder) {
  // Waits for the engine thread: not on the connection's own executor.
  responder->offload(
      SIZE_MAX, [&service] { service.engine->reset_prefix_cache(); },
      [responder] { responder->send(empty_response(200)); });
}

void handle_is_sleeping(Service&, HttpRequest, ResponderPtr responder) {
  responder->send(json_response("{\"is_sleeping\":false}"));
}

void handle_server_info(Service& service, HttpRequest, ResponderPtr responder) {
  const ServerOptions& options = service.options;
  responder->send(json_response("{\"vllm_config\":{\"model\":" + json_string(options.model_root) +
                                ",\"max_model_len\":" + std::to_string(options.max_model_len) +
                                ",\"version\":" + json_string(options.version) + "}}"));
}

const Route kRoutes[] = {
    {"/health", "GET", handle_health},
    {"/load", "GET", handle_load},
    {"/ping", "GET, POST", handle_health},
    {"/tokenize", "POST", handle_tokenize},
    {"/detokenize", "POST", handle_detokenize},
    {"/v1/models", "GET", handle_models},
    {"/version", "GET", handle_version},
    {"/metrics", "GET", handle_metrics},
    {"/v1/completions", "POST", handle_completions},
    {"/v1/chat/completions", "POST", handle_chat_completions},
    {"/invocations", "POST", handle_invocations},
    {"/v1/embeddings", "POST", handle_unsupported<kEmbeddings>},
    {"/pooling", "POST", handle_unsupported<kPooling>},
    {"/classify", "POST", handle_unsupported<kClassification>},
    {"/score", "POST", handle_unsupported<kScore>},
    {"/v1/score", "POST", handle_unsupported<kScore>},
    {"/rerank", "POST", handle_unsupported<kRerank>},
    {"/v1/rerank", "POST", handle_unsupported<kRerank>},
    {"/v2/rerank", "POST", handle_unsupported<kRerank>},
    {"/v1/audio/transcriptions", "POST", handle_unsupported<kTranscriptions>},
    {"/v1/audio/translations", "POST", handle_unsupported<kTranslations>},
    {"/reset_prefix_cache", "POST", handle_reset_prefix_cache, Route::Served::kInDevMode},
    {"/is_sleeping", "GET", handle_is_sleeping, Route::Served::kInDevMode},
    {"/sleep", "POST", handle_unsupported<kSleep>, Route::Served::kInDevMode},
    {"/wake_up", "POST", handle_unsupported<kSleep>, Route::Served::kInDevMode},
    {"/server_info", "GET", handle_server_info, Route::Served::kInDevMode},
    {"/", "GET", handle_web_page, Route::Served::kWithWebPage},
    {"/web/metrics", "GET", handle_metrics, Route::Served::kWithWebPage},
    {"/web/server.json", "GET", handle_web_server, Route::Served::kWithWebPage},
    {kWebFiles, "GET", handle_web_file, Route::Served::kWithWebPage},
};

}  // namespace

const Route* find_route(std::string_view path, const ServerOptions& options) {
  for (const Route& route : kRoutes) {
    const bool fits =
        path == route.path || (std::string_view(route.path) == kWebFiles && path.starts_with("/web/"));
    if (fits && is_served(route, options)) return &route;
  }
  return nullptr;
}

bool is_served(const Route& route, const ServerOptions& options) {
  switch (route.served) {
    case Route::Served::kInDevMode:
      return options.dev_mode;
    case Route::Served::kWithWebPage:
      return options.web_page;
    default:
      return true;
  }
}

std::span<const Route> all_routes() { return kRoutes; }

}  // namespace outrider::server

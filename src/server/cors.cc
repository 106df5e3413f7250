#include "server/cors.h"

#include <algorithm>

namespace outrider::server {
namespace {

bool has(const std::vector<std::string>& list, std::string_view value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

bool allows(const std::vector<std::string>& list, std::string_view value) {
  return has(list, "*") || has(list, value);
}

std::string join(const std::vector<std::string>& list) {
  std::string out;
  for (const std::string& item : list) out += (out.empty() ? "" : ", ") + item;
  return out;
}

// Any origin may be named back only where no cookies are let through.
std::string allowed_origin(const Cors& cors, std::string_view origin) {
  return has(cors.origins, "*") && !cors.credentials ? "*" : std::string(origin);
}

}  // namespace

Headers cors_headers(const Cors& cors, const HttpRequest& request) {
  const std::string_view origin = request.header("origin");
  if (origin.empty() || !allows(cors.origins, origin)) return {};
  Headers headers = {{"access-control-allow-origin", allowed_origin(cors, origin)}};
  if (cors.credentials) headers.emplace_back("access-control-allow-credentials", "true");
  if (headers.front().second != "*") headers.emplace_back("vary", "Origin");
  return headers;
}

std::optional<HttpResponse> cors_preflight(const Cors& cors, const HttpRequest& request) {
  const std::string_view method = request.header("access-control-request-method");
  const std::string_view origin = request.header("origin");
  if (request.method != "OPTIONS" || origin.empty() || method.empty()) return std::nullopt;
  HttpResponse response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = "OK";
  std::string refused;
  if (!allows(cors.origins, origin)) refused += "origin";
  if (!allows(cors.methods, method)) refused += refused.empty() ? "method" : ", method";
  if (!refused.empty()) {
    response.status = 400;
    response.body = "Disallowed CORS " + refused;
    return response;
  }
  const bool any_method = has(cors.methods, "*");
  response.headers.emplace_back(
      "access-control-allow-methods",
      any_method ? "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT" : join(cors.methods));
  response.headers.emplace_back("access-control-max-age", "600");
  const std::string_view wanted = request.header("access-control-request-headers");
  if (has(cors.headers, "*")) {
    if (!wanted.empty()) response.headers.emplace_back("access-control-allow-headers", std::string(wanted));
  } else {
    response.headers.emplace_back("access-control-allow-headers", join(cors.headers));
  }
  return response;
}

}  // namespace outrider::server

#include "server/router.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <array>

#include "base/log.h"
#include "base/text.h"
#include "server/cors.h"
#include "server/errors.h"
#include "server/observed_responder.h"
#include "server/random_id.h"
#include "server/routes.h"

namespace outrider::server {
namespace {

using Digest = std::array<unsigned char, SHA256_DIGEST_LENGTH>;

Digest digest_of(std::string_view text) {
  Digest digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

// Compares digests, all keys each time: neither a key's length nor its first wrong byte can be timed.
bool has_valid_key(const std::vector<std::string>& keys, std::string_view authorization) {
  const size_t space = authorization.find(' ');
  const std::string_view scheme = authorization.substr(0, space);
  const std::string_view token = space == std::string_view::npos ? "" : authorization.substr(space + 1);
  const Digest given = digest_of(token);
  bool valid = false;
  for (const std::string& key : keys) {
    const Digest expected = digest_of(key);
    valid |= CRYPTO_memcmp(given.data(), expected.data(), given.size()) == 0;
  }
  return valid && equals_ignoring_case(scheme, "bearer");
}

bool is_guarded(std::string_view path) { return path.starts_with("/v1") || path.starts_with("/v2"); }

bool allows_method(const Route& route, std::string_view method) {
  std::string_view rest = route.methods;
  while (!rest.empty()) {
    const size_t comma = rest.find(", ");
    if (rest.substr(0, comma) == method) return true;
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 2);
  }
  return false;
}

HttpResponse redirect_to(std::string_view path, const HttpRequest& request) {
  HttpResponse response;
  response.status = 307;
  response.content_type.clear();
  std::string location(path);
  if (const size_t query = request.target.find('?'); query != std::string::npos)
    location += request.target.substr(query);
  response.headers.emplace_back("location", std::move(location));
  return response;
}

// Header values may hold visible ASCII only; what a client sent is echoed without the rest.
std::string header_safe(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c >= 0x20 && c < 0x7F) out += c;
  }
  return out;
}

Headers extra_headers(const ServerOptions& options, const HttpRequest& request) {
  Headers extra = cors_headers(options.cors, request);
  if (options.enable_request_id_headers) {
    const std::string_view given = request.header("x-request-id");
    extra.emplace_back("x-request-id", given.empty() ? random_id() : header_safe(given.substr(0, 512)));
  }
  return extra;
}

}  // namespace

void Router::handle(HttpRequest request, ResponderPtr responder) {
  const ServerOptions& options = service_.options;
  std::string path(request.path());
  if (!options.root_path.empty() && path.starts_with(options.root_path))
    path.erase(0, options.root_path.size());
  const Route* route = find_route(path == "/metrics/" ? "/metrics" : path, options);
  auto observed =
      std::make_shared<ObservedResponder>(service_, request, route != nullptr ? route->path : "none",
                                          extra_headers(options, request), std::move(responder));
  if (auto preflight = cors_preflight(options.cors, request)) return observed->send(std::move(*preflight));
  if (!options.api_keys.empty() && request.method != "OPTIONS" && is_guarded(path) &&
      !has_valid_key(options.api_keys, request.header("authorization"))) {
    HttpResponse refused;
    refused.status = 401;
    refused.body = "{\"error\":\"Unauthorized\"}";
    return observed->send(std::move(refused));
  }
  if (route == nullptr) {
    const bool slash = path.size() > 1 && path.ends_with('/');
    if (slash) path.pop_back();
    // The root path without its slash: what the page names would be looked for beside it.
    if (path.empty()) path = "/";
    const bool redirects = (slash || path == "/") && find_route(path, options) != nullptr;
    return observed->send(redirects ? redirect_to(options.root_path + path, request)
                                    : detail_response(404, "Not Found"));
  }
  if (!allows_method(*route, request.method)) {
    HttpResponse refused = detail_response(405, "Method Not Allowed");
    refused.headers.emplace_back("allow", route->methods);
    return observed->send(std::move(refused));
  }
  try {
    route->handle(service_, std::move(request), observed);
  } catch (const std::exception& error) {
    log::error(std::string("route failed: ") + error.what());
    observed->send(error_response(500, "Internal Server Error", error.what()));
  }
}

}  // namespace outrider::server

// The table of routes.
#pragma once

#include <span>

#include "server/http.h"
#include "server/service.h"

namespace outrider::server {

struct Route {
  enum class Served { kAlways, kInDevMode, kWithWebPage };

  const char* path;
  const char* methods;  // "GET", "GET, POST"
  void (*handle)(Service&, HttpRequest, ResponderPtr);
  Served served = Served::kAlways;
};

// Null when there is none, or `options` leave it out.
const Route* find_route(std::string_view path, const ServerOptions& options);
std::span<const Route> all_routes();
bool is_served(const Route& route, const ServerOptions& options);

}  // namespace outrider::server

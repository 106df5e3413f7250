// The table of routes.
#pragma once

#include <span>

#include "server/http.h"
#include "server/service.h"

namespace outrider::server {

struct Route {
  const char* path;
  const char* methods;  // "GET", "GET, POST"
  void (*handle)(Service&, HttpRequest, ResponderPtr);
  bool dev_mode = false;  // only with dev mode
};

// Null when there is none; `dev_mode` routes count only when it is on.
const Route* find_route(std::string_view path, bool dev_mode);
std::span<const Route> all_routes();

}  // namespace outrider::server

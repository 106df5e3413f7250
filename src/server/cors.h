// Cross-origin rules as Starlette's CORSMiddleware applies them.
#pragma once

#include <optional>

#include "server/http.h"
#include "server/options.h"

namespace outrider::server {

// Headers for the answer to a request that carries an Origin; none otherwise.
Headers cors_headers(const Cors& cors, const HttpRequest& request);
// The answer to a preflight request; null when `request` is none.
std::optional<HttpResponse> cors_preflight(const Cors& cors, const HttpRequest& request);

}  // namespace outrider::server

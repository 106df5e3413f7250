// POST /v1/completions.
#pragma once

#include "server/http.h"
#include "server/service.h"

namespace outrider::server {

// Validates, tokenises and answers. Errors become responses; nothing is thrown.
void handle_completions(Service& service, HttpRequest request, ResponderPtr responder);

}  // namespace outrider::server

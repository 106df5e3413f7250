// POST /v1/chat/completions.
#pragma once

#include "server/http.h"
#include "server/service.h"

namespace outrider::server {

// Validates, tokenises and answers. Errors become responses; nothing is thrown.
void handle_chat_completions(Service& service, HttpRequest request, ResponderPtr responder);

}  // namespace outrider::server

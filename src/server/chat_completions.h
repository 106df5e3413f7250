// POST /v1/chat/completions.
#pragma once

#include "server/completions.h"

namespace outrider::server {

void handle_chat_completions(Service& service, HttpRequest request, ResponderPtr responder);

// The part without I/O. Throws RequestError.
PreparedRequest prepare_chat(const Service& service, const HttpRequest& request);

}  // namespace outrider::server

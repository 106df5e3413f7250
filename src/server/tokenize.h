// POST /tokenize and /detokenize.
#pragma once

#include "server/http.h"
#include "server/service.h"

namespace outrider::server {

void handle_tokenize(Service& service, HttpRequest request, ResponderPtr responder);
void handle_detokenize(Service& service, HttpRequest request, ResponderPtr responder);

}  // namespace outrider::server

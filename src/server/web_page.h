// The web page at /, its files and what it is told about this server.
#pragma once

#include "server/http.h"
#include "server/service.h"

namespace outrider::server {

inline constexpr char kWebFiles[] = "/web/{file}";

void handle_web_page(Service& service, HttpRequest request, ResponderPtr responder);
void handle_web_file(Service& service, HttpRequest request, ResponderPtr responder);

// Served without a key, as /metrics is: names nothing that the metrics do not name.
void handle_web_server(Service& service, HttpRequest request, ResponderPtr responder);

}  // namespace outrider::server

// From a request's path to its handler; API keys, CORS, redirects, access log and HTTP metrics on the way.
#pragma once

#include "server/http.h"
#include "server/service.h"

namespace outrider::server {

class Router {
 public:
  explicit Router(Service& service) : service_(service) {}
  // On the connection's executor. Never throws; every request is answered through `responder`.
  void handle(HttpRequest request, ResponderPtr responder);

 private:
  Service& service_;
};

}  // namespace outrider::server

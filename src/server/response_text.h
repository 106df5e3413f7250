// Answers as bytes of HTTP/1.x.
#pragma once

#include <string>

#include "server/http.h"

namespace outrider::server {

struct Framing {
  int version = 11;
  bool keep_alive = true;
  bool stream = false;  // the body follows in chunks (HTTP/1.1) or until the end of the connection
  bool head_only = false;
};

std::string response_text(const HttpResponse& response, const Framing& framing);
std::string chunk_text(const std::string& bytes);

}  // namespace outrider::server

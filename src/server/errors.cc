#include "server/errors.h"

#include "base/json_string.h"

namespace outrider::server {

HttpResponse error_response(int status, std::string_view type, std::string_view message) {
  HttpResponse response;
  response.status = status;
  response.body = "{\"error\":{\"message\":" + json_string(message) + ",\"type\":" + json_string(type) +
                  ",\"param\":null,\"code\":" + std::to_string(status) + "}}";
  return response;
}

HttpResponse error_response(const RequestError& error) {
  return error_response(error.status(), error.type(), error.what());
}

HttpResponse detail_response(int status, std::string_view detail) {
  HttpResponse response;
  response.status = status;
  response.body = "{\"detail\":" + json_string(detail) + "}";
  return response;
}

std::string error_event(int status, std::string_view type, std::string_view message) {
  return "data: {\"error\": {\"message\": " + json_string(message) + ", \"type\": " + json_string(type) +
         ", \"param\": null, \"code\": " + std::to_string(status) + "}}\n\n";
}

}  // namespace outrider::server

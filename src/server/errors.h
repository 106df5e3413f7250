// Error answers in vLLM's shapes.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "server/http.h"

namespace outrider::server {

// {"error":{"message":...,"type":...,"param":null,"code":...}}
HttpResponse error_response(int status, std::string_view type, std::string_view message);
HttpResponse error_response(const RequestError& error);
// {"detail":...}: unknown paths and wrong methods.
HttpResponse detail_response(int status, std::string_view detail);

// One server-sent event for a failure after the head has gone out. Spaces as Python's json.dumps puts them.
std::string error_event(int status, std::string_view type, std::string_view message);

}  // namespace outrider::server

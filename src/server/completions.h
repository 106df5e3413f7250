// POST /v1/completions.
#pragma once

#include "server/generation.h"
#include "server/request_fields.h"

namespace outrider::server {

// Validates, tokenises and answers. Errors become responses; nothing is thrown.
void handle_completions(Service& service, HttpRequest request, ResponderPtr responder);

struct PreparedRequest {
  Job job;
  std::unique_ptr<ReplyWriter> writer;
};
// The part without I/O. Throws RequestError.
PreparedRequest prepare_completion(const Service& service, const HttpRequest& request);

}  // namespace outrider::server

// From a route's request to a running Generation: preparation, on a worker when the body is large; the
// compiling of its grammar; admission.
#pragma once

#include <memory>

#include "server/http.h"
#include "server/reply_writer.h"
#include "server/service.h"

namespace outrider::server {

struct PreparedRequest {
  Job job;
  std::unique_ptr<ReplyWriter> writer;
};

// `prepare` does no I/O and throws RequestError. Every error is answered.
void prepare_and_start(Service& service, HttpRequest request, ResponderPtr responder,
                       PreparedRequest (*prepare)(const Service&, const HttpRequest&));

}  // namespace outrider::server

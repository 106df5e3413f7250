#include "server/start_generation.h"

#include <algorithm>
#include <limits>

#include "base/log.h"
#include "base/python_float.h"
#include "base/python_repr.h"
#include "server/errors.h"
#include "server/generation.h"
#include "server/json_text.h"

namespace outrider::server {
namespace {

// Each choice leaves again with its last output; a job that is refused at once never counts.
bool enter(Service& service, const Job& job) {
  if (job.late_error) return true;
  int64_t tokens = 0;
  for (const auto& prompt : job.prompts) tokens += static_cast<int64_t>(prompt.size());
  return service.admission.enter(static_cast<int64_t>(job.prompts.size()) * job.n, tokens * job.n);
}

void log_request(const Service& service, const Job& job) {
  if (!service.options.log_requests) return;
  const size_t limit = service.options.max_log_len.value_or(std::numeric_limits<size_t>::max());
  for (size_t i = 0; i < job.prompts.size(); ++i) {
    const std::vector<int32_t>& ids = job.prompts[i];
    const size_t shown = std::min(limit, ids.size());
    std::string line = "Received request " + job.id + "-" + std::to_string(i) + ": prompt: ";
    line += python_repr(Json(service.tokenizer->decode(std::span(ids).first(shown), false)), limit);
    line += ", params: SamplingParams(n=" + std::to_string(job.n) +
            ", temperature=" + python_float(job.params.temperature) +
            ", top_p=" + python_float(job.params.top_p) + ", top_k=" + std::to_string(job.params.top_k) +
            ", max_tokens=" + std::to_string(job.params.max_tokens) + "), prompt_token_ids: ";
    append_ids(line, std::span(ids).first(shown));
    log::info(line + ", lora_request: None.");
  }
}

void start(Service& service, PreparedRequest prepared, const ResponderPtr& responder) {
  if (!enter(service, prepared.job)) {
    HttpResponse full = error_response(503, "Service Unavailable",
                                       "Too many requests wait or run already (--max-num-queued-reqs, "
                                       "--max-num-queued-tokens); try again later.");
    full.headers.emplace_back("retry-after", "1");
    responder->send(std::move(full));
    return;
  }
  log_request(service, prepared.job);
  std::make_shared<Generation>(service, std::move(prepared.job), std::move(prepared.writer), responder)
      ->start();
}

// The compiler's threads do the work and hand it back to the connection's executor.
void compile_and_start(Service& service, std::shared_ptr<PreparedRequest> prepared,
                       const ResponderPtr& responder) {
  auto finish = [&service, prepared, responder](std::shared_ptr<const sampling::Grammar> grammar,
                                                const std::optional<RequestError>& error) {
    Job& job = prepared->job;
    if (error && (!job.stream || error->status() != 400)) {
      responder->send(error_response(*error));
      return;
    }
    if (error) job.late_error = error->what();
    job.grammar = std::move(grammar);
    start(service, std::move(*prepared), responder);
  };
  service.grammars->compile(
      *prepared->job.grammar_spec, [finish, responder](std::shared_ptr<const sampling::Grammar> grammar,
                                                       std::optional<RequestError> error) {
        responder->post(
            [finish, grammar = std::move(grammar), error = std::move(error)] { finish(grammar, error); });
      });
}

}  // namespace

void prepare_and_start(Service& service, HttpRequest request, ResponderPtr responder,
                       PreparedRequest (*prepare)(const Service&, const HttpRequest&)) {
  struct Work {
    HttpRequest request;
    std::optional<PreparedRequest> prepared;
    std::optional<HttpResponse> error;
  };
  auto work = std::make_shared<Work>();
  work->request = std::move(request);
  const auto arrival = engine::Clock::now();
  const size_t bytes = work->request.body.size();
  responder->offload(
      bytes,
      [&service, work, prepare, arrival] {
        try {
          work->prepared = prepare(service, work->request);
          work->prepared->job.arrival = arrival;
        } catch (const RequestError& error) {
          work->error = error_response(error);
        } catch (const std::exception& error) {
          log::error(std::string("request failed: ") + error.what());
          work->error = error_response(500, "Internal Server Error", error.what());
        }
        work->request = {};
      },
      [&service, work, responder] {
        if (work->error) {
          responder->send(std::move(*work->error));
        } else if (!work->prepared->job.grammar_spec || work->prepared->job.late_error) {
          start(service, std::move(*work->prepared), responder);
        } else {
          compile_and_start(service, std::make_shared<PreparedRequest>(std::move(*work->prepared)),
                            responder);
        }
      });
}

}  // namespace outrider::server

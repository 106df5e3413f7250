#include "server/request_common.h"

#include <algorithm>
#include <cctype>

#include "base/log.h"
#include "server/errors.h"

namespace outrider::server {
namespace {

constexpr size_t kMaxRequestIdBytes = 512;

bool is_json_content(std::string_view value) {
  std::string type(value.substr(0, value.find(';')));
  while (!type.empty() && std::isspace(static_cast<unsigned char>(type.back()))) type.pop_back();
  std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) { return std::tolower(c); });
  return type == "application/json";
}

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

Json read_json_body(const HttpRequest& request, const Limits& limits) {
  if (!is_json_content(request.header("content-type"))) {
    throw RequestError(" [\"Unsupported Media Type: Only 'application/json' is allowed\"]", "Bad Request");
  }
  return parse_body(request.body, limits.json_depth);
}

void check_model(const std::optional<std::string>& model, const ServerOptions& options) {
  if (!model || model->empty()) return;
  const auto& names = options.served_model_names;
  if (std::find(names.begin(), names.end(), *model) != names.end()) return;
  throw RequestError("The model `" + model->substr(0, 1000) + "` does not exist.", "NotFoundError", 404);
}

std::string base_request_id(const HttpRequest& request, const std::optional<std::string>& from_body) {
  if (request.has_header("x-request-id")) {
    return std::string(request.header("x-request-id").substr(0, kMaxRequestIdBytes));
  }
  if (from_body && !from_body->empty()) return from_body->substr(0, kMaxRequestIdBytes);
  return random_hex(32);
}

Job make_job(const Service& service, const GenerationFields& fields, const std::string& id) {
  Job job;
  job.id = id;
  job.model = service.options.served_model_names.front();
  job.created =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  if (fields.seed && *fields.seed != -1) job.seed = fields.seed;
  job.n = static_cast<int>(std::clamp<int64_t>(fields.n.value_or(1), 1, service.options.limits.n));
  job.stream = fields.streaming();
  if (fields.stream_options) {
    job.include_usage =
        fields.stream_options->include_usage.value_or(true) || service.options.force_include_usage;
    job.continuous_usage = job.include_usage && fields.stream_options->continuous_usage_stats.value_or(false);
  }
  job.priority = fields.priority.value_or(0);
  job.cache_salt = fields.cache_salt.value_or("");
  return job;
}

void apply_engine_rules(const GenerationFields& fields, const ServerOptions& options, Logprobs logprobs,
                        Job& job) {
  try {
    check_engine_rules(fields, options, logprobs);
  } catch (const RequestError& error) {
    if (!job.stream) throw;
    job.late_error = error.what();
  }
}

void truncate_prompt(std::vector<int32_t>& ids, int64_t truncate, int64_t max_length) {
  if (truncate < 0) truncate = max_length;
  if (static_cast<int64_t>(ids.size()) > truncate) ids.erase(ids.begin(), ids.end() - truncate);
}

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

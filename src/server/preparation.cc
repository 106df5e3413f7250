#include "server/preparation.h"

#include <algorithm>
#include <chrono>

#include "base/text.h"
#include "server/random_id.h"

namespace outrider::server {
namespace {

constexpr size_t kMaxRequestIdBytes = 512;

bool is_json_content(std::string_view value) {
  return equals_ignoring_case(trim(value.substr(0, value.find(';'))), "application/json");
}

// Keeps the error for the stream when there is one.
void apply_engine_rules(const GenerationFields& fields, const ServerOptions& options, Logprobs logprobs,
                        Job& job) {
  try {
    check_engine_rules(fields, options, logprobs);
  } catch (const RequestError& error) {
    if (!job.stream) throw;
    job.late_error = error.what();
  }
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
  return random_id();
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

void finish_job(const Service& service, const GenerationFields& fields, int64_t max_tokens, Logprobs wanted,
                Job& job, ReplyShape& shape) {
  const ServerOptions& options = service.options;
  job.params = make_sampling_params(fields, options, *service.tokenizer, max_tokens, wanted);
  job.text = make_text_options(fields, job.params);
  apply_engine_rules(fields, options, wanted, job);
  shape.logprobs = job.params.logprobs;
  shape.show_prompt_logprobs = wanted.prompt.has_value();
  shape.return_token_ids = fields.return_token_ids.value_or(false);
  shape.usage_details = options.enable_prompt_tokens_details;
  job.keep_tokens = shape.logprobs || shape.return_token_ids;
}

TokenNames token_names(const Service& service, const GenerationFields& fields) {
  return {service.tokenizer,
          fields.return_tokens_as_token_ids.value_or(service.options.return_tokens_as_token_ids)};
}

void truncate_prompt(std::vector<int32_t>& ids, int64_t truncate, int64_t max_length) {
  if (truncate < 0) truncate = max_length;
  if (static_cast<int64_t>(ids.size()) > truncate) ids.erase(ids.begin(), ids.end() - truncate);
}

}  // namespace outrider::server

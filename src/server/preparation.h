// Steps of preparing a request that routes share. No I/O.
#pragma once

#include "server/http.h"
#include "server/job.h"
#include "server/logprobs.h"
#include "server/reply_writer.h"
#include "server/request_fields.h"
#include "server/sampling_request.h"
#include "server/service.h"

namespace outrider::server {

// Content type, JSON and depth. Throws RequestError.
Json read_json_body(const HttpRequest& request, const Limits& limits);

// Throws NotFoundError unless `model` is absent, empty or a served name.
void check_model(const std::optional<std::string>& model, const ServerOptions& options);

// Header X-Request-Id, else the body's request_id, else 32 hex digits.
std::string base_request_id(const HttpRequest& request, const std::optional<std::string>& from_body);

// Fills what every generation job has but prompts, params and text.
Job make_job(const Service& service, const GenerationFields& fields, const std::string& id);

// Fills in sampling, text and what the answer shows, once the prompt is known. What an engine rule refuses in
// a stream is kept in the job, for an event.
void finish_job(const Service& service, const GenerationFields& fields, int64_t max_tokens, Logprobs wanted,
                Job& job, ReplyShape& shape);

TokenNames token_names(const Service& service, const GenerationFields& fields);

// Keeps the last `truncate` tokens. `max_length`: the longest prompt that leaves room for the reply.
void truncate_prompt(std::vector<int32_t>& ids, int64_t truncate, int64_t max_length);

}  // namespace outrider::server

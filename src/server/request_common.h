// Steps that the POST routes share.
#pragma once

#include "base/error.h"
#include "server/completions.h"
#include "server/sampling_request.h"

namespace outrider::server {

// Content type, JSON and depth. Throws RequestError.
Json read_json_body(const HttpRequest& request, const Limits& limits);

// Throws NotFoundError unless `model` is absent, empty or a served name.
void check_model(const std::optional<std::string>& model, const ServerOptions& options);

// Header X-Request-Id, else the body's request_id, else 32 hex digits.
std::string base_request_id(const HttpRequest& request, const std::optional<std::string>& from_body);

// Fills what every generation job has but prompts, params and text.
Job make_job(const Service& service, const GenerationFields& fields, const std::string& id);

// Runs the engine rules; keeps their error for the stream when there is one.
void apply_engine_rules(const GenerationFields& fields, const ServerOptions& options, Logprobs logprobs,
                        Job& job);

// Keeps the last `truncate` tokens. `max_length`: the longest prompt that leaves room for the reply.
void truncate_prompt(std::vector<int32_t>& ids, int64_t truncate, int64_t max_length);

// Runs `prepare` away from other connections when the body is large, then starts the generation. Answers
// errors.
void prepare_and_start(Service& service, HttpRequest request, ResponderPtr responder,
                       PreparedRequest (*prepare)(const Service&, const HttpRequest&));

}  // namespace outrider::server

// From request fields to sampling parameters: the second stage of validation.
#pragma once

#include "engine/output_text.h"
#include "sampling/params.h"
#include "server/options.h"
#include "server/request_fields.h"
#include "tokenizer/tokenizer.h"

namespace outrider::server {

// Fields that ask for what is not built. Throws RequestError naming the field.
void refuse_unsupported(const GenerationFields& fields);

struct Logprobs {
  std::optional<int64_t> sample, prompt;  // how many alternatives; absent: none wanted
};

// `max_tokens`: already resolved against context and defaults, >= 1. The S rows of vLLM's validation texts:
// these are answered before a stream starts. The parameters have no seed yet.
sampling::SamplingParams make_sampling_params(const GenerationFields& fields, const ServerOptions& options,
                                              const tokenizer::Tokenizer& tokenizer, int64_t max_tokens,
                                              Logprobs logprobs);

// The E rows: in a stream these arrive as an event.
void check_engine_rules(const GenerationFields& fields, const ServerOptions& options, Logprobs logprobs);
void check_token_ids(const std::vector<int64_t>& ids, int vocab_size);

engine::TextOptions make_text_options(const GenerationFields& fields, const sampling::SamplingParams& params);

}  // namespace outrider::server

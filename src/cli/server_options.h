// From the user's options and the model to what server, engine and runner are told.
#pragma once

#include "config/serve_options.h"
#include "engine/engine.h"
#include "model/memory_plan.h"
#include "model/weights.h"
#include "server/options.h"
#include "tokenizer/tokenizer.h"

namespace outrider::cli {

// What is known before the model has been read. Throws StartupError.
server::ServerOptions server_options(const config::ServeOptions& options, const std::string& default_name);

// The rest, once it has been read. `max_model_len` has been resolved.
void add_model(const config::ServeOptions& options, const model::Model& model,
               const tokenizer::Tokenizer& tokenizer, const model::MemoryPlan& plan,
               server::ServerOptions& out);

engine::EngineOptions engine_options(const config::ServeOptions& options, int64_t max_model_len);

// `kv_bytes`: for the KV cache when no option says.
model::MemoryOptions memory_options(const config::ServeOptions& options, int64_t max_model_len,
                                    int64_t kv_bytes);

// --max-model-len, or config.json's. Throws StartupError when it is above config.json's without leave.
int64_t resolve_max_model_len(const config::ServeOptions& options, const model::LlamaConfig& config);

// --generation-config and --override-generation-config over the model's own.
model::GenerationDefaults generation_defaults(const config::ServeOptions& options, const model::Model& model);

// `{'temperature': 0.6, 'top_p': 0.9}`; empty when there are none.
std::string sampling_text(const model::GenerationDefaults& defaults);

}  // namespace outrider::cli

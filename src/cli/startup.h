// What every command that runs an engine does first.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "cli/device.h"
#include "cli/model_location.h"
#include "config/serve_options.h"
#include "engine/engine.h"
#include "model/memory_plan.h"
#include "model/weights.h"
#include "tokenizer/tokenizer.h"

namespace outrider::cli {

void configure_log(const config::ServeOptions& options);

// Reads weights and tokenizer at the same time. Throws StartupError.
std::pair<std::shared_ptr<model::Model>, std::shared_ptr<const tokenizer::Tokenizer>> read_model(
    const config::ServeOptions& options, const ModelLocation& location, const std::string& tokenizer_folder,
    const Device& device);

// Resolves --max-model-len, plans the device's memory and logs the plan. Throws StartupError.
model::MemoryPlan plan_memory(const config::ServeOptions& options, const model::Model& model,
                              const Device& device);

// What the engine is told, with a limit to how long a GPU may be silent.
engine::EngineOptions engine_limits(const config::ServeOptions& options, const Device& device,
                                    int64_t max_model_len);

}  // namespace outrider::cli

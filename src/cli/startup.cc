#include "cli/startup.h"

#include <fmt/format.h>

#include <chrono>
#include <future>

#include "base/log.h"
#include "checkpoint/load.h"
#include "cli/server_options.h"

namespace outrider::cli {
namespace {

model::Model load_model(const config::ServeOptions& options, const ModelLocation& location,
                        const Device& device) {
  checkpoint::LoadOptions load;
  load.format = options.load_format == "dummy"         ? checkpoint::LoadFormat::kDummy
                : options.load_format == "safetensors" ? checkpoint::LoadFormat::kSafetensors
                                                       : checkpoint::LoadFormat::kAuto;
  load.hf_overrides = options.hf_overrides.dump(-1, ' ', false, config::Json::error_handler_t::replace);
  load.quantization = options.quantization;
  load.seed = static_cast<uint64_t>(options.seed.value_or(0));
  load.write_dummy = !device.is_gpu;
  return checkpoint::load(location.folder.string(), load);
}

}  // namespace

void configure_log(const config::ServeOptions& options) {
  bool known = false;
  const log::Level level = log::parse_level(options.log_level, known);
  log::configure({.level = level, .prefix = options.log_prefix, .to_stderr = options.log_stream == "stderr"});
  if (!known) log::warning(fmt::format("--log-level {}: unknown, info is used", options.log_level));
}

std::pair<std::shared_ptr<model::Model>, std::shared_ptr<const tokenizer::Tokenizer>> read_model(
    const config::ServeOptions& options, const ModelLocation& location, const std::string& tokenizer_folder,
    const Device& device) {
  log::info("Starting to load model " + location.folder.string());
  auto tokenizer =
      std::async(std::launch::async, [&] { return tokenizer::Tokenizer::load(tokenizer_folder); });
  auto model = std::make_shared<model::Model>(load_model(options, location, device));
  for (const std::string& warning : model->warnings) log::warning(warning);
  return {std::move(model), tokenizer.get()};
}

model::MemoryPlan plan_memory(const config::ServeOptions& options, const model::Model& model,
                              const Device& device) {
  const int64_t max_model_len = resolve_max_model_len(options, model.config);
  model::MemoryPlan plan = model::plan_memory(model, memory_options(options, device, model, max_model_len));
  log::info(plan.table());
  log::info((device.is_gpu ? "GPU " : "CPU ") + plan.kv_text());
  return plan;
}

engine::EngineOptions engine_limits(const config::ServeOptions& options, const Device& device,
                                    int64_t max_model_len) {
  // No step of a GPU comes near this; a device that has fallen off may stay silent for ever.
  constexpr std::chrono::minutes kDeviceTimeout{2};
  engine::EngineOptions limits = engine_options(options, max_model_len);
  // As many prompt tokens as the weights' time hides make a step of many decodes less than twice as long.
  constexpr int kPromptTokensBesideDecodes = 1024;
  if (device.is_gpu) {
    limits.device_timeout = kDeviceTimeout;
    limits.prompt_tokens_beside_decodes = kPromptTokensBesideDecodes;
  }
  return limits;
}

}  // namespace outrider::cli

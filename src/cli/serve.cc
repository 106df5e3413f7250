#include "cli/serve.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/load.h"
#include "cli/device.h"
#include "cli/model_location.h"
#include "cli/server_options.h"
#include "config/help.h"
#include "engine/engine.h"
#include "server/server.h"

namespace outrider::cli {
namespace {

using Clock = std::chrono::steady_clock;
using TokenizerPtr = std::shared_ptr<const tokenizer::Tokenizer>;

constexpr double kGiB = 1 << 30;

// No step of a GPU comes near this; a device that has fallen off may stay silent for ever.
constexpr std::chrono::minutes kDeviceTimeout{2};

// Seconds of each stage of the start, for the log.
class Ledger {
 public:
  // Ends the stage that has been running. Returns its seconds.
  double stage(const char* name) {
    const Clock::time_point now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    text_ += fmt::format("{}{} {:.3f}", text_.empty() ? "" : ", ", name, seconds);
    last_ = now;
    return seconds;
  }
  std::string text() const {
    return fmt::format("Ready after {:.3f} s: {}", std::chrono::duration<double>(last_ - begin_).count(),
                       text_);
  }

 private:
  Clock::time_point begin_ = Clock::now();
  Clock::time_point last_ = begin_;
  std::string text_;
};

void configure_log(const config::ServeOptions& options) {
  bool known = false;
  const log::Level level = log::parse_level(options.log_level, known);
  log::configure({.level = level, .prefix = options.log_prefix, .to_stderr = options.log_stream == "stderr"});
  if (!known) log::warning(fmt::format("--log-level {}: unknown, info is used", options.log_level));
}

void log_options(const config::ServeOptions& options) {
  log::info(fmt::format("Outrider API server version {}", OUTRIDER_VERSION));
  log::info("non-default args: " + config::non_default_args(options));
  for (const std::string& note : options.notes) log::info(note);
  for (const std::string& warning : options.warnings) log::warning(warning);
}

std::string grouped(int64_t value) {
  std::string text = std::to_string(value);
  for (int64_t at = static_cast<int64_t>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<size_t>(at), ",");
  return text;
}

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

// Reads weights and tokenizer at the same time.
std::pair<std::shared_ptr<model::Model>, TokenizerPtr> read_model(const config::ServeOptions& options,
                                                                  const ModelLocation& location,
                                                                  const std::string& tokenizer_folder,
                                                                  const Device& device) {
  log::info("Starting to load model " + location.folder.string());
  auto tokenizer =
      std::async(std::launch::async, [&] { return tokenizer::Tokenizer::load(tokenizer_folder); });
  auto model = std::make_shared<model::Model>(load_model(options, location, device));
  for (const std::string& warning : model->warnings) log::warning(warning);
  return {std::move(model), tokenizer.get()};
}

void log_plan(const model::Model& model, const model::MemoryPlan& plan, const Device& device) {
  log::info(plan.table());
  const int64_t pool = plan.kv.page_bytes(model.config) * plan.kv.num_blocks;
  log::info(fmt::format("Available KV cache memory: {:.2f} GiB", static_cast<double>(pool) / kGiB));
  log::info(
      fmt::format("{} KV cache size: {} tokens", device.is_gpu ? "GPU" : "CPU", grouped(plan.kv_tokens)));
  log::info(fmt::format("Maximum concurrency for {} tokens per request: {:.2f}x", grouped(plan.max_model_len),
                        plan.max_concurrency));
}

void log_defaults(const config::ServeOptions& options, const model::GenerationDefaults& defaults) {
  const std::string text = sampling_text(defaults);
  if (text.empty()) return;
  if (options.generation_config == "auto") {
    log::warning(
        "Sampling defaults come from the model's generation_config.json; --generation-config vllm ignores "
        "it");
  }
  log::info("Using default chat sampling params from model: " + text);
  log::info("Using default completion sampling params from model: " + text);
}

// In uvicorn's words, which scripts wait for.
void log_ready(const server::Server& server, const config::ServeOptions& options) {
  const std::string address =
      options.uds.empty() ? fmt::format("{}://{}:{}", options.ssl_certfile.empty() ? "http" : "https",
                                        options.host.empty() ? "0.0.0.0" : options.host, server.port())
                          : "unix:" + options.uds;
  log::info("Starting Outrider API server 0 on " + address);
  log::plain(fmt::format("INFO:     Started server process [{}]", getpid()));
  log::plain("INFO:     Waiting for application startup.");
  log::plain("INFO:     Application startup complete.");
}

int run(const config::ServeOptions& options, const Device& device) {
  Ledger ledger;
  ModelSearch search{embedded_folders(), hub_cache_folder(options.download_dir), options.revision};
  const ModelLocation location = locate_model(options.model, search);
  const std::string tokenizer_folder = options.tokenizer.empty()
                                           ? location.folder.string()
                                           : locate_model(options.tokenizer, search).folder.string();

  server::Server server(server_options(options, location.served_name));
  server.bind();
  ledger.stage("bind");

  auto [model, tokenizer] = read_model(options, location, tokenizer_folder, device);
  log::info(fmt::format("Loading weights took {:.2f} seconds", ledger.stage("read")));

  const int64_t max_model_len = resolve_max_model_len(options, model->config);
  const model::MemoryPlan plan =
      model::plan_memory(*model, memory_options(options, device, *model, max_model_len));
  log_plan(*model, plan, device);
  add_model(options, *model, *tokenizer, plan, server.options());
  log_defaults(options, server.options().defaults);
  ledger.stage("plan");

  auto runner = make_runner(options, device, model, plan, server.options().vocab_size);
  log::info(fmt::format("Model loading took {:.4f} GiB and {:.6f} seconds",
                        static_cast<double>(model::weight_bytes(model->weights)) / kGiB,
                        ledger.stage("build")));
  engine::EngineOptions limits = engine_options(options, max_model_len);
  if (device.is_gpu) limits.device_timeout = kDeviceTimeout;
  auto engine = std::make_shared<engine::Engine>(std::move(runner), limits, server.observer());
  server.start(engine, tokenizer);
  ledger.stage("serve");
  log::info(ledger.text());
  log_ready(server, options);
  const int status = server.run();
  // What a failed device holds is not given back by asking it: that may never end.
  if (!engine->alive()) std::_Exit(status);
  return status;
}

}  // namespace

int serve(const std::vector<std::string>& arguments, const config::Environment& environment) {
  config::ServeOptions options = config::parse_serve(arguments, environment);
  if (options.help) {
    std::fputs(config::serve_help(*options.help).c_str(), stdout);
    return 0;
  }
  if (options.version) {
    std::puts(OUTRIDER_VERSION);
    return 0;
  }
  const Device device = find_device(options);
  config::apply_device_defaults(options, device.total_bytes);
  if (options.print_config) {
    std::fputs(config::print_config(options).c_str(), stdout);
    return 0;
  }
  configure_log(options);
  log_options(options);
  if (device.is_gpu) log::info("Serving on " + device.name);
  return run(options, device);
}

}  // namespace outrider::cli

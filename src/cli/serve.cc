#include "cli/serve.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "base/log.h"
#include "cli/answer_help.h"
#include "cli/device.h"
#include "cli/model_location.h"
#include "cli/server_options.h"
#include "cli/startup.h"
#include "engine/engine.h"
#include "grammar/compiler.h"
#include "server/server.h"

namespace outrider::cli {
namespace {

constexpr double kGiB = 1 << 30;

using Clock = std::chrono::steady_clock;
using TokenizerPtr = std::shared_ptr<const tokenizer::Tokenizer>;

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

void log_options(const config::ServeOptions& options) {
  log::info(fmt::format("Outrider API server version {}", OUTRIDER_VERSION));
  log::info("non-default args: " + config::non_default_args(options));
  for (const std::string& note : options.notes) log::info(note);
  for (const std::string& warning : options.warnings) log::warning(warning);
}

// Special tokens are no text: only those that end a reply have a place in a grammar. `row`: values of a row
// of logits.
std::unique_ptr<sampling::GrammarCompiler> make_grammar_compiler(const TokenizerPtr& tokenizer,
                                                                 const server::ServerOptions& options,
                                                                 int row) {
  std::vector<int32_t> end_ids = options.eos_token_ids;
  if (const int32_t eos = tokenizer->eos_id(); eos >= 0 && std::ranges::count(end_ids, eos) == 0)
    end_ids.push_back(eos);
  return grammar::make_compiler([tokenizer, end_ids, row] {
    grammar::Vocabulary vocabulary{.tokens = {}, .size = row, .end_ids = end_ids};
    for (int32_t id = 0; id < std::min(tokenizer->size(), row); ++id) {
      vocabulary.tokens.emplace_back(tokenizer->is_special(id) ? std::string_view()
                                                               : tokenizer->token_bytes(id));
    }
    return vocabulary;
  });
}

void log_defaults(const config::ServeOptions& options, const model::GenerationDefaults& defaults) {
  const std::string text = sampling_text(defaults);
  if (text.empty()) return;
  const std::string line = "Using default chat sampling params from model: " + text + ", for completions too";
  if (options.generation_config == "auto") {
    log::warning(line + "; --generation-config vllm ignores the model's generation_config.json");
  } else {
    log::info(line);
  }
}

// Of which the web page says how near its figures come.
server::Hardware describe(const Device& device, const model::Model& model) {
  const model::StepWeights weights = model::step_weights(model.weights);
  return {.device = device.is_gpu ? device.name : "CPU",
          .step_weight_bytes = weights.common,
          .expert_weight_bytes = weights.expert,
          .num_experts = model.config.num_experts,
          .experts_per_token = model.config.num_experts_per_token,
          .memory_bandwidth = device.memory_bandwidth};
}

// In uvicorn's words, which scripts wait for.
void log_ready(const server::Server& server, const config::ServeOptions& options) {
  const std::string address =
      options.uds.empty() ? fmt::format("{}://{}:{}", options.ssl_certfile.empty() ? "http" : "https",
                                        options.host.empty() ? "0.0.0.0" : options.host, server.port())
                          : "unix:" + options.uds;
  log::info("Starting Outrider API server 0 on " + address);
  log::plain(fmt::format("INFO:     Started server process [{}]", getpid()));
  log::plain("INFO:     Application startup complete.");
}

int run(const config::ServeOptions& options, const config::Environment& environment, const Device& device) {
  const auto [location, tokenizer_folder] = locate_engine_model(options, environment);
  Ledger ledger;
  server::Server server(server_options(options, location.served_name));
  server.bind();
  ledger.stage("bind");

  auto [model, tokenizer] = read_model(options, location, tokenizer_folder, device);
  log::info(fmt::format("Loading weights took {:.2f} seconds", ledger.stage("read")));

  const model::MemoryPlan plan = plan_memory(options, *model, device);
  add_model(options, *model, *tokenizer, plan, server.options());
  server.options().hardware = describe(device, *model);
  log_defaults(options, server.options().defaults);
  ledger.stage("plan");

  auto runner = make_runner(options, device, model, plan, server.options().vocab_size);
  log::info(fmt::format("Model loading took {:.4f} GiB and {:.6f} seconds",
                        static_cast<double>(model::weight_bytes(model->weights)) / kGiB,
                        ledger.stage("build")));
  auto engine = std::make_shared<engine::Engine>(
      std::move(runner), engine_limits(options, device, plan.max_model_len), server.observer());
  server.start(engine, tokenizer,
               make_grammar_compiler(tokenizer, server.options(), model->config.vocab_size));
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
  if (answer_help(options, config::serve_table())) return 0;
  const Device device = find_device(options);
  config::apply_device_defaults(options, device.total_bytes);
  if (options.print_config) {
    std::fputs(config::print_config(options).c_str(), stdout);
    return 0;
  }
  configure_log(options);
  log_options(options);
  if (device.is_gpu) log::info("Serving on " + device.name);
  return run(options, environment, device);
}

}  // namespace outrider::cli

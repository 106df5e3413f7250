#include "cli/bench.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "bench/latency_bench.h"
#include "bench/output_file.h"
#include "bench/serve_bench.h"
#include "bench/sweep.h"
#include "bench/throughput_bench.h"
#include "cli/answer_help.h"
#include "cli/device.h"
#include "cli/model_location.h"
#include "cli/startup.h"
#include "config/bench_options.h"

namespace outrider::cli {
namespace {

using Words = std::vector<std::string>;

std::shared_ptr<const tokenizer::Tokenizer> load_tokenizer(const std::string& model) {
  try {
    const ModelSearch search = plain_search({.weights = false}, hub::Policy::kCacheFirst);
    return tokenizer::Tokenizer::load(locate_model(model, search).folder.string());
  } catch (const StartupError& error) {
    throw StartupError("argument --tokenizer: " + std::string(error.what()), error.exit_code());
  }
}

int bench_serve(const Words& arguments, const config::Environment& environment) {
  const config::BenchServeOptions options = config::parse_bench_serve(arguments, environment);
  if (answer_help(options, config::bench_serve_table())) return 0;
  return bench::run_serve_bench(options, load_tokenizer);
}

using Measure = std::function<int(const bench::OfflineSetup&, bench::OutputFile*)>;

// Starts an engine as `serve` does and hands it on. Its log goes to standard error.
int with_engine(const config::OfflineOptions& own, const config::Environment& environment,
                const Measure& measure) {
  config::ServeOptions options = own.engine;
  options.log_stream = "stderr";
  configure_log(options);
  for (const std::string& warning : options.warnings) log::warning(warning);
  std::optional<bench::OutputFile> file;
  if (!own.output_json.empty()) file.emplace(own.output_json, "--output-json");
  const Device device = find_device(options);
  config::apply_device_defaults(options, device.total_bytes);
  const auto [location, tokenizer_folder] = locate_engine_model(options, environment);
  auto [model, tokenizer] = read_model(options, location, tokenizer_folder, device);
  const model::MemoryPlan plan = plan_memory(options, *model, device);
  const int valid_vocab = std::min(model->config.vocab_size, tokenizer->size());
  engine::Engine engine(make_runner(options, device, model, plan, valid_vocab),
                        engine_limits(options, device, plan.max_model_len), /*observer=*/nullptr);
  const bench::OfflineSetup setup = {.engine = engine,
                                     .tokenizer = tokenizer,
                                     .num_answers = own.n,
                                     .detokenize = own.detokenize,
                                     .seed = static_cast<uint64_t>(options.seed.value_or(0))};
  try {
    return measure(setup, file ? &*file : nullptr);
  } catch (const StartupError& error) {
    if (engine.alive()) throw;
    // What a failed device holds is not given back by asking it: that may never end.
    std::fprintf(stderr, "outrider: error: %s\n", error.what());
    std::_Exit(1);
  }
}

int bench_latency(const Words& arguments, const config::Environment& environment) {
  const config::LatencyOptions options = config::parse_bench_latency(arguments, environment);
  if (answer_help(options.engine, config::latency_table())) return 0;
  return with_engine(options, environment, [&](const bench::OfflineSetup& setup, bench::OutputFile* file) {
    return bench::run_latency_bench(options, setup, file);
  });
}

int bench_throughput(const Words& arguments, const config::Environment& environment) {
  const config::ThroughputOptions options = config::parse_bench_throughput(arguments, environment);
  if (answer_help(options.engine, config::throughput_table())) return 0;
  return with_engine(options, environment, [&](const bench::OfflineSetup& setup, bench::OutputFile* file) {
    return bench::run_throughput_bench(options, setup, file);
  });
}

int bench_sweep(const Words& arguments, const config::Environment& environment) {
  const config::SweepOptions options = config::parse_bench_sweep(arguments, environment);
  if (answer_help(options, config::sweep_table())) return 0;
  return bench::run_sweep(options, load_tokenizer);
}

struct Benchmark {
  const char* name;
  int (*run)(const Words&, const config::Environment&);
  const char* help;
};

constexpr Benchmark kBenchmarks[] = {
    {"serve", bench_serve, "measure a running server over HTTP"},
    {"latency", bench_latency, "time batches in an engine of this process"},
    {"throughput", bench_throughput, "answer a data set as fast as an engine of this process can"},
    {"sweep", bench_sweep, "start servers, measure each under several loads, and plot the figures"},
};

}  // namespace

int bench(const Words& arguments, const config::Environment& environment) {
  const std::string name = arguments.empty() ? "--help" : arguments[0];
  if (name == "--help" || name == "-h") {
    std::puts("usage: outrider bench COMMAND [options]\n");
    for (const Benchmark& benchmark : kBenchmarks)
      std::printf("  %-12s %s\n", benchmark.name, benchmark.help);
    return 0;
  }
  for (const Benchmark& benchmark : kBenchmarks) {
    if (name == benchmark.name) return benchmark.run({arguments.begin() + 1, arguments.end()}, environment);
  }
  throw UsageError("invalid command: bench " + name + "; see outrider bench --help");
}

}  // namespace outrider::cli

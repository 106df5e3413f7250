#include "bench/serve_bench.h"

#include <fmt/format.h>

#include <cstdio>
#include <ctime>
#include <optional>

#include "base/error.h"
#include "base/python_float.h"
#include "bench/interrupt.h"
#include "bench/load.h"
#include "bench/output_file.h"
#include "bench/progress.h"
#include "bench/report.h"
#include "bench/schedule.h"
#include "chat/python_json.h"

namespace outrider::bench {
namespace {

using Requests = std::vector<SampleRequest>;

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

void warn(const std::string& line) { std::fprintf(stderr, "outrider: warning: %s\n", line.c_str()); }

// A request that is wrong stays wrong.
bool is_final(const Outcome& outcome) {
  const std::string& kind = outcome.error_kind;
  return kind.starts_with("HTTP 4") && !kind.starts_with("HTTP 408") && !kind.starts_with("HTTP 425") &&
         !kind.starts_with("HTTP 429");
}

void wait_until_ready(const config::BenchServeOptions& options, const SampleRequest& request,
                      LoadGenerator& load) {
  constexpr double kPause = 1;
  say("Starting initial single prompt test run...");
  say(fmt::format("Waiting for endpoint to become up in {} seconds", options.ready_check_timeout));
  const auto deadline = Clock::now() + std::chrono::seconds(options.ready_check_timeout);
  std::string told;
  while (true) {
    const Outcome outcome = load.send_alone(request, options.endpoint, deadline);
    if (load.interrupted()) return;
    if (outcome.success) break;
    if (is_final(outcome) || Clock::now() >= deadline) {
      throw StartupError(
          "Initial test run failed - Please make sure benchmark arguments are correctly specified. Error: " +
          outcome.error);
    }
    if (told != outcome.error_kind) warn("not ready yet: " + outcome.error);
    told = outcome.error_kind;
    load.sleep(kPause);
    if (load.interrupted()) return;
  }
  say("Initial test run completed. Starting main benchmark run...");
}

void profile(const config::BenchServeOptions& options, const SampleRequest& request, const char* verb,
             LoadGenerator& load) {
  const std::string path = fmt::format("/{}_profile", verb);
  const Outcome outcome = load.send_alone(request, path);
  // A profiler answers 200 without tokens.
  if (!outcome.success && outcome.error_kind != "no token in the answer") {
    warn(fmt::format("--profile: {}{} failed: {}", options.base_url, path, outcome.error));
  }
}

void say_traffic(const config::TrafficOptions& traffic) {
  if (traffic.ramp_up_strategy.empty()) {
    say("Traffic request rate: " + (traffic.request_rate ? python_float(*traffic.request_rate) : "inf"));
  } else {
    say(fmt::format("Traffic ramp-up strategy: {}.", traffic.ramp_up_strategy));
    say(fmt::format("Will increase RPS from {} to {} RPS over the duration of the benchmark.",
                    traffic.ramp_up_start_rps, traffic.ramp_up_end_rps));
  }
  say(fmt::format("Burstiness factor: {} ({})", python_float(traffic.burstiness),
                  traffic.burstiness == 1.0 ? "Poisson process" : "Gamma distribution"));
  say("Maximum request concurrency: " +
      (traffic.max_concurrency ? std::to_string(*traffic.max_concurrency) : std::string("None")));
}

void prepare(const config::BenchServeOptions& options, const Requests& requests, LoadGenerator& load) {
  if (options.ready_check_timeout > 0) wait_until_ready(options, requests[0], load);
  for (int64_t i = 0; i < options.num_warmups && !load.interrupted(); ++i) {
    load.send_alone(requests[static_cast<size_t>(i) % requests.size()], options.endpoint);
  }
  if (options.profile && !load.interrupted()) profile(options, requests[0], "start", load);
}

}  // namespace

std::string ask_model(const config::BenchServeOptions& options, LoadGenerator& load) {
  std::string body;
  try {
    body = load.get("/v1/models");
  } catch (const client::ExchangeError& error) {
    throw StartupError("argument --model: not given, and " + options.base_url +
                       "/v1/models failed: " + error.what());
  }
  const auto listed = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  try {
    return listed.at("data").at(0).at("id").get<std::string>();
  } catch (const nlohmann::json::exception&) {
    throw StartupError("argument --model: not given, and " + options.base_url + "/v1/models lists none");
  }
}

int run_serve_bench(const config::BenchServeOptions& options, const TokenizerLoader& load_tokenizer) {
  say(options.python_namespace);
  for (const std::string& warning : options.warnings) warn(warning);
  LoadGenerator load(options, client::parse_url(options.base_url, "--base-url"));

  RunNames names;
  names.model = options.model.empty() ? ask_model(options, load) : options.model;
  names.tokenizer = options.tokenizer.empty() ? names.model : options.tokenizer;
  names.date = date_text(std::time(nullptr));
  std::optional<OutputFile> file;
  if (options.report.save) {
    file.emplace(result_path(options, names), "--result-filename", options.report.append);
  }
  load.set_model(options.served_model_name.empty() ? names.model : options.served_model_name);

  const auto tokenizer = load_tokenizer(names.tokenizer);
  Generators generators(options.dataset.seed);
  const Requests requests = make_dataset(options.dataset, *tokenizer, generators);
  const std::vector<double> times = send_times(options.traffic, requests.size(), generators.numpy);

  prepare(options, requests, load);
  if (load.interrupted()) return kInterruptedExit;
  say_traffic(options.traffic);
  Progress progress(requests.size(), !options.disable_tqdm);
  const LoadResult result = load.run(requests, times, [&] { progress.advance(); });
  progress.close();

  const Metrics metrics =
      calculate_metrics(requests, result.outcomes, result.duration, *tokenizer, options.report);
  std::fputs(table(options, metrics).c_str(), stdout);
  std::fflush(stdout);
  std::fputs(failure_list(metrics).c_str(), stderr);
  if (metrics.completed == 0 && !load.interrupted()) {
    warn("All requests failed. This is likely due to a misconfiguration on the benchmark arguments.");
  }
  if (file) {
    file->write(chat::python_json(
        result_json(options, names, metrics, result.outcomes, requests, result.rate_changes), -1,
        /*ensure_ascii=*/true));
  }
  if (options.profile && !load.interrupted()) profile(options, requests[0], "stop", load);
  if (load.interrupted()) return kInterruptedExit;
  return metrics.completed > 0 ? 0 : 1;
}

}  // namespace outrider::bench

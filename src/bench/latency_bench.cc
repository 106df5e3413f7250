#include "bench/latency_bench.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "base/python_float.h"
#include "bench/metrics.h"
#include "bench/numpy_random.h"
#include "bench/progress.h"

namespace outrider::bench {
namespace {

using Requests = std::vector<OfflineRequest>;

Requests random_batch(const config::LatencyOptions& options, const OfflineSetup& setup) {
  constexpr int64_t kMaxId = 10000;  // vLLM's; below it there are no special tokens
  const auto end = static_cast<uint64_t>(std::min<int64_t>(kMaxId, setup.tokenizer->encoder_size()));
  NumpyLegacy random(static_cast<uint32_t>(setup.seed));
  Requests requests(static_cast<size_t>(options.batch_size));
  for (OfflineRequest& request : requests) {
    request.output_len = options.output_len;
    for (int64_t i = 0; i < options.input_len; ++i) {
      request.prompt.push_back(static_cast<int32_t>(random.integer(end)));
    }
  }
  return requests;
}

// Seconds of each batch. Fewer than `count` after Ctrl-C.
std::vector<double> time_batches(const OfflineSetup& setup, const Requests& requests, int64_t count,
                                 bool show_progress, const Interrupt& interrupt) {
  std::vector<double> seconds;
  Progress progress(static_cast<size_t>(count), show_progress);
  while (static_cast<int64_t>(seconds.size()) < count) {
    const OfflineResult result = run_offline(setup, requests, interrupt, [] {});
    if (interrupt.raised()) break;
    seconds.push_back(result.seconds);
    progress.advance();
  }
  progress.close();
  return seconds;
}

}  // namespace

OfflineReport latency_report(const std::vector<double>& latencies) {
  std::vector<double> sorted = latencies;
  std::sort(sorted.begin(), sorted.end());
  const double mean =
      std::accumulate(latencies.begin(), latencies.end(), 0.0) / static_cast<double>(latencies.size());
  OfflineReport report;
  report.text = "Avg latency: " + python_float(mean) + " seconds\n";
  report.json = {{"avg_latency", mean}, {"latencies", latencies}};
  for (const int percent : {10, 25, 50, 75, 90, 99}) {
    const double value = percentile(sorted, percent);
    const std::string name = std::to_string(percent);
    report.text += name + "% percentile latency: " + python_float(value) + " seconds\n";
    report.json["percentiles"][name] = value;
  }
  return report;
}

int run_latency_bench(const config::LatencyOptions& options, const OfflineSetup& setup, OutputFile* file) {
  check_lengths(setup.engine, options.input_len, options.output_len);
  const Requests requests = random_batch(options, setup);
  const Interrupt interrupt;
  std::puts("Warming up...");
  std::fflush(stdout);
  time_batches(setup, requests, options.num_iters_warmup, !options.disable_tqdm, interrupt);
  if (interrupt.raised()) return kInterruptedExit;
  const std::vector<double> latencies =
      time_batches(setup, requests, options.num_iters, !options.disable_tqdm, interrupt);
  if (latencies.empty()) return kInterruptedExit;
  publish(latency_report(latencies), file);
  return interrupt.raised() ? kInterruptedExit : 0;
}

}  // namespace outrider::bench

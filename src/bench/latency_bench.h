// `outrider bench latency`: how long a batch of prompts takes, once the engine is there.
#pragma once

#include <string>
#include <vector>

#include "bench/offline.h"
#include "bench/output_file.h"

namespace outrider::bench {

struct LatencyReport {
  std::string text;   // vLLM's lines
  config::Json json;  // avg_latency, latencies, percentiles; seconds
};

// `latencies` must not be empty. Seconds.
LatencyReport latency_report(const std::vector<double>& latencies);

// Prints as it goes. 0, or 130 when broken off by a signal, after the figures of the batches that were
// finished. `file` may be null. Throws StartupError.
int run_latency_bench(const config::LatencyOptions& options, const OfflineSetup& setup, OutputFile* file);

}  // namespace outrider::bench

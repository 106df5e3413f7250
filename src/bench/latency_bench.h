// `outrider bench latency`: how long a batch of prompts takes, once the engine is there.
#pragma once

#include <vector>

#include "bench/offline.h"

namespace outrider::bench {

// avg_latency, latencies, percentiles. `latencies` must not be empty. Seconds.
OfflineReport latency_report(const std::vector<double>& latencies);

// Prints as it goes. 0, or 130 when broken off by a signal, after the figures of the batches that were
// finished. `file` may be null. Throws StartupError.
int run_latency_bench(const config::LatencyOptions& options, const OfflineSetup& setup, OutputFile* file);

}  // namespace outrider::bench

// `outrider bench throughput`: all prompts of a data set at once, once the engine is there.
#pragma once

#include "bench/offline.h"

namespace outrider::bench {

// elapsed_time, num_requests, total_num_tokens, requests_per_second, tokens_per_second.
OfflineReport throughput_report(const OfflineResult& result);

// Prints as it goes. 0, or 130 when broken off by a signal, after the figures of the requests that were
// finished. `file` may be null. Throws StartupError.
int run_throughput_bench(const config::ThroughputOptions& options, const OfflineSetup& setup,
                         OutputFile* file);

}  // namespace outrider::bench

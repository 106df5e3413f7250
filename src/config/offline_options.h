// Everything `outrider bench latency` and `outrider bench throughput` can be told: their own options and
// those of the engine, which runs in the same process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/bench_options.h"

namespace outrider::config {

struct OfflineOptions {
  ServeOptions engine;  // with help, version and warnings
  int64_t n = 1;        // answers a prompt
  bool detokenize = true;
  bool disable_tqdm = false;
  std::string output_json;  // empty: no file
};

struct LatencyOptions : OfflineOptions {
  int64_t input_len = 0, output_len = 0, batch_size = 0;
  int64_t num_iters_warmup = 0, num_iters = 0;
};

struct ThroughputOptions : OfflineOptions {
  DatasetOptions dataset;
};

const OptionTable& latency_table();
const OptionTable& throughput_table();

// `arguments`: what follows `outrider bench latency` or `throughput`. Throw UsageError.
LatencyOptions parse_bench_latency(const std::vector<std::string>& arguments, const Environment& environment);
ThroughputOptions parse_bench_throughput(const std::vector<std::string>& arguments,
                                         const Environment& environment);

}  // namespace outrider::config

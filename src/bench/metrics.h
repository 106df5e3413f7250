// The figures of a run, by the formulas of vLLM 0.10.2's client.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bench/dataset.h"
#include "bench/outcome.h"
#include "config/bench_options.h"
#include "tokenizer/tokenizer.h"

namespace outrider::bench {

// Milliseconds. All zero when there are no values.
struct Statistics {
  double mean = 0, median = 0, std = 0;
  std::vector<std::pair<double, double>> percentiles;  // (of which, value)
};

// Linear between the two nearest ranks; `sorted` must not be empty.
double percentile(const std::vector<double>& sorted, double percent);

struct Metrics {
  double duration = 0;  // seconds, from the first request's turn to the last one's end
  int64_t completed = 0, failed = 0, unfinished = 0;
  int64_t total_input = 0, total_output = 0;
  double request_throughput = 0, request_goodput = 0, output_throughput = 0, total_token_throughput = 0;
  std::map<std::string, Statistics> by_name;  // ttft, tpot, itl, e2el
  std::vector<int64_t> output_lens;           // of each request, 0 without an answer
  std::map<std::string, int64_t> failures;    // how many of each kind
};

// `tokenizer` counts the tokens of answers whose server does not.
Metrics calculate_metrics(const std::vector<SampleRequest>& requests, const std::vector<Outcome>& outcomes,
                          double duration, const tokenizer::Tokenizer& tokenizer,
                          const config::ReportOptions& options);

}  // namespace outrider::bench

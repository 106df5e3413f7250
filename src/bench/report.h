// The printed table, the result as JSON, and where it goes.
#pragma once

#include <ctime>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/load.h"
#include "bench/metrics.h"
#include "config/bench_options.h"

namespace outrider::bench {

// vLLM's table, trailing blanks included. A line on failed requests comes only when there are some.
std::string table(const config::BenchServeOptions& options, const Metrics& metrics);

// Failures by kind, most frequent first; empty without any.
std::string failure_list(const Metrics& metrics);

struct RunNames {
  std::string date;  // 20250930-123456
  std::string model, tokenizer;
};

// `date` of `now` in local time.
std::string date_text(std::time_t now);

config::Json result_json(const config::BenchServeOptions& options, const RunNames& names,
                         const Metrics& metrics, const std::vector<Outcome>& outcomes,
                         const std::vector<SampleRequest>& requests,
                         const std::vector<RateChange>& rate_changes);

// Where the result goes. Creates --result-dir. Throws StartupError.
std::string result_path(const config::BenchServeOptions& options, const RunNames& names);

}  // namespace outrider::bench

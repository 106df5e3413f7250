// What a sweep has measured: its table, its JSON file, the Pareto front, and the settings for the recipe's
// scenarios.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/metrics.h"
#include "config/sweep_options.h"

namespace outrider::bench {

struct GridPoint {
  int64_t tensor_parallel_size = 1, max_num_seqs = 0, concurrency = 0;
  bool operator==(const GridPoint&) const = default;
};

struct SweepPoint {
  GridPoint at;
  int64_t num_prompts = 0;
  std::string error;     // empty: every request succeeded
  config::Json figures;  // by name, as the columns of the table; an empty object: nothing was measured

  bool ok() const { return error.empty(); }
  double throughput_per_gpu() const { return figures.at("output_throughput_per_gpu").get<double>(); }
  double tpot_ms() const { return figures.at("median_tpot_ms").get<double>(); }
};

config::Json point_figures(const GridPoint& at, const Metrics& metrics);

// Points, as indices, that no other beats: none has more throughput per GPU at no more time per token, or the
// same at less. By time per token, ascending. Points that failed are not among them.
std::vector<size_t> pareto_front(const std::vector<SweepPoint>& points);

struct Scenarios {
  size_t max_throughput = 0, min_latency = 0;
  size_t balanced = 0;  // the most throughput for its time per token: the largest quotient
};
// Nothing when no point succeeded.
std::optional<Scenarios> find_scenarios(const std::vector<SweepPoint>& points);

struct SweepNames {
  std::string date, model;
  std::string device;  // a GPU's name, or CPU
};

std::string sweep_csv(const std::vector<SweepPoint>& points);
config::Json sweep_json(const SweepNames& names, const config::Json& settings,
                        const std::vector<SweepPoint>& points);
// Points of a file that sweep_json wrote with the same settings. Throws StartupError, naming `path`.
std::vector<SweepPoint> read_points(const std::string& text, const config::Json& settings,
                                    const std::string& path);

// For the terminal: a row for each point, then the scenarios.
std::string sweep_table(const std::vector<SweepPoint>& points);

}  // namespace outrider::bench

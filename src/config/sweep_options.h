// Everything `outrider bench sweep` can be told: the grid, options of `outrider bench serve`, and what is
// handed to each server.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/bench_options.h"

namespace outrider::config {

struct SweepOptions : HelpRequest {
  std::vector<int64_t> tensor_parallel_sizes, max_num_seqs;
  std::vector<int64_t> concurrency;          // empty: for each server its max-num-seqs
  std::optional<int64_t> num_prompts;        // unset: prompts_per_concurrency times the concurrency
  std::vector<std::string> serve_arguments;  // what followed `--`
  std::string output_dir;
  bool resume = false;
  std::optional<int64_t> port;  // unset: one that is free
  // The load, but for address, model name, number of prompts and concurrency.
  BenchServeOptions client;
  // What another sweep must have equal for its points to be points of this one.
  Json settings;
};

const OptionTable& sweep_table();

// `arguments`: what follows `outrider bench sweep`. Throws UsageError.
SweepOptions parse_bench_sweep(const std::vector<std::string>& arguments, const Environment& environment);

}  // namespace outrider::config

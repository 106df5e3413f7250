// Everything `outrider bench serve` can be told, typed. The tables in bench_table.cc and bench_datasets.cc
// have names, defaults and help.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/table.h"

namespace outrider::config {

// The prompts and how long the answers shall be. Lengths are in tokens.
struct DatasetOptions {
  std::string name;
  std::string path;
  int64_t num_prompts = 0;
  uint64_t seed = 0;
  bool no_oversample = false, disable_shuffle = false;
  std::string request_id_prefix;
  bool for_chat = false;  // the server applies the chat template

  int64_t random_input_len = 0, random_output_len = 0, random_prefix_len = 0;
  double random_range_ratio = 0;
  std::optional<int64_t> sharegpt_output_len;
  int64_t custom_output_len = 0;
  bool custom_skip_chat_template = false;
  int64_t spec_bench_output_len = 0;
  std::string spec_bench_category;
  int64_t sonnet_input_len = 0, sonnet_output_len = 0, sonnet_prefix_len = 0;
  int64_t repetition_prefix_len = 0, repetition_suffix_len = 0, repetition_num_prefixes = 0,
          repetition_output_len = 0;
};

struct TrafficOptions {
  std::optional<double> request_rate;  // requests a second; unset: all at once
  double burstiness = 1;
  std::optional<int64_t> max_concurrency;
  std::string ramp_up_strategy;  // empty, "linear", "exponential"
  int64_t ramp_up_start_rps = 0, ramp_up_end_rps = 0;
};

struct ReportOptions {
  std::vector<std::string> metrics;  // of ttft, tpot, itl, e2el
  std::vector<double> percentiles;
  std::map<std::string, double> goodput;  // milliseconds by metric
  bool save = false, append = false, detailed = false;
  std::string result_dir, result_filename;
  std::string label;
  std::vector<std::pair<std::string, std::string>> metadata;
};

struct BenchServeOptions : HelpRequest {
  std::string model;  // empty: what the server lists first
  std::string served_model_name, tokenizer;
  std::string base_url;  // without the endpoint's path
  std::string endpoint;
  std::string endpoint_type;
  bool chat = false;
  bool insecure = false;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string api_key;  // OPENAI_API_KEY

  DatasetOptions dataset;
  TrafficOptions traffic;
  ReportOptions report;

  bool ignore_eos = false;
  std::optional<int64_t> logprobs;
  Json extra_body = Json::object();  // sampling parameters and --extra-body
  int64_t num_warmups = 0;
  int64_t ready_check_timeout = 0;  // seconds, 0: no check
  int64_t stall_timeout = 0;        // seconds without a byte while requests are open; 0: no limit
  bool profile = false;
  bool disable_tqdm = false;

  std::string python_namespace;
  std::vector<std::string> warnings;
};

class OptionValues;

const OptionTable& bench_serve_table();
std::vector<Option> bench_dataset_options();

// For commands whose tables have some of bench serve's options. --seed may be absent. Throws UsageError.
DatasetOptions read_dataset(const OptionValues& values);
// All but the report.
void read_client(const OptionValues& values, const Environment& environment, BenchServeOptions& out);

// `arguments`: what follows `outrider bench serve`. Throws UsageError.
BenchServeOptions parse_bench_serve(const std::vector<std::string>& arguments,
                                    const Environment& environment);

}  // namespace outrider::config

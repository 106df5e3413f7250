#include "config/sweep_options.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "base/error.h"
#include "config/option_values.h"

namespace outrider::config {
namespace {

std::vector<Option> grid_options() {
  const auto axis = [](const char* name, double max, const char* help) {
    return Option{.name = name, .kind = Kind::kInts, .min = 1, .max = max, .common = true, .help = help};
  };
  return {
      axis("max-num-seqs", 65536, "Most requests in one step of the server, one server each: 16 64 256."),
      axis("concurrency", 1 << 20, "Requests at a time, for each server. Unset: its --max-num-seqs."),
      axis("tensor-parallel-size", 64, "GPUs that share each layer, one server each. Unset: 1."),
      {.name = "num-prompts",
       .kind = Kind::kInt,
       .min = 1,
       .max = 1 << 24,
       .common = true,
       .help = "Requests of each point. Unset: five times its concurrency, as the recipe has it."},
      {.name = "output-dir",
       .kind = Kind::kString,
       .initial = "sweep",
       .common = true,
       .help = "Folder for sweep.csv, sweep.json, sweep.svg and the servers' logs; created where missing."},
      {.name = "resume",
       .kind = Kind::kFlag,
       .initial = "false",
       .common = true,
       .help = "Keep the points that sweep.json in the folder has, and measure the others."},
      {.name = "port",
       .kind = Kind::kInt,
       .min = 1,
       .max = 65535,
       .help = "For the servers. Unset: a free one."},
      {.name = "ready-check-timeout-sec",
       .kind = Kind::kInt,
       .initial = "600",
       .min = 1,
       .max = 1e9,
       .help = "Seconds that a server may take to become ready."},
      {.name = "stall-timeout-sec",
       .kind = Kind::kInt,
       .initial = "600",
       .min = 0,
       .max = 1e9,
       .help = "Seconds without a byte from the server after which its point has failed; 0 for no limit."},
  };
}

// What the sweep sets itself, or has no use for.
bool is_swept(const Option& option) {
  constexpr std::string_view kNames[] = {"num-prompts",
                                         "max-concurrency",
                                         "host",
                                         "port",
                                         "base-url",
                                         "endpoint",
                                         "insecure",
                                         "save-result",
                                         "save-detailed",
                                         "append-result",
                                         "result-dir",
                                         "result-filename",
                                         "label",
                                         "metadata",
                                         "percentile-metrics",
                                         "profile",
                                         "goodput",
                                         "metric-percentiles",
                                         "ramp-up-strategy",
                                         "ramp-up-start-rps",
                                         "ramp-up-end-rps",
                                         "ready-check-timeout-sec"};
  return std::ranges::find(kNames, option.name) != std::end(kNames);
}

// Each once, in the order given.
std::vector<int64_t> axis(const OptionValues& values, const char* name) {
  std::vector<int64_t> numbers;
  for (const int64_t number : values.find<std::vector<int64_t>>(name).value_or(std::vector<int64_t>())) {
    if (std::ranges::find(numbers, number) == numbers.end()) numbers.push_back(number);
  }
  return numbers;
}

// The load as it was asked for, without what may differ between runs that are continued.
Json load_settings(const OptionValues& values) {
  constexpr std::string_view kOwn[] = {
      "max-num-seqs",     "concurrency", "tensor-parallel-size",    "num-prompts",  "output-dir",
      "resume",           "port",        "ready-check-timeout-sec", "disable-tqdm", "request-id-prefix",
      "stall-timeout-sec"};
  Json settings = Json::object();
  for (const OptionGroup& group : sweep_table().groups()) {
    for (const Option& option : group.options) {
      if (std::ranges::find(kOwn, option.name) != std::end(kOwn) || !values.given(option.name)) continue;
      settings[option.name] = values.find<Json>(option.name).value_or(Json());
    }
  }
  return settings;
}

}  // namespace

const OptionTable& sweep_table() {
  static const OptionTable table = [] {
    std::vector<OptionGroup> groups = {{"grid", "points, and where the figures go", grid_options()}};
    for (OptionGroup group : bench_serve_table().groups()) {
      std::erase_if(group.options, is_swept);
      groups.push_back(std::move(group));
    }
    return OptionTable(
        {"usage: outrider bench sweep --max-num-seqs N... [options] [-- options of outrider serve]\n",
         "Starts a server for each --max-num-seqs and --tensor-parallel-size, runs bench serve against it at "
         "each "
         "--concurrency, and writes a table,\n"
         "a JSON file and a plot of throughput against time per token. What follows -- is handed to each "
         "server."},
        std::move(groups));
  }();
  return table;
}

SweepOptions parse_bench_sweep(const std::vector<std::string>& arguments, const Environment& environment) {
  const auto dashes = std::ranges::find(arguments, "--");
  const OptionValues values(sweep_table(), std::vector<std::string>(arguments.begin(), dashes));
  SweepOptions out;
  if (out.take(values)) return out;
  if (dashes != arguments.end()) out.serve_arguments.assign(dashes + 1, arguments.end());
  out.max_num_seqs = axis(values, "max-num-seqs");
  if (out.max_num_seqs.empty()) throw UsageError("the following arguments are required: --max-num-seqs");
  out.concurrency = axis(values, "concurrency");
  out.tensor_parallel_sizes = axis(values, "tensor-parallel-size");
  if (out.tensor_parallel_sizes.empty()) out.tensor_parallel_sizes = {1};
  out.num_prompts = values.find<int64_t>("num-prompts");
  out.output_dir = values.text("output-dir");
  out.resume = values.flag("resume");
  out.port = values.find<int64_t>("port");
  read_client(values, environment, out.client);
  out.client.stall_timeout = values.find<int64_t>("stall-timeout-sec").value_or(0);
  out.client.report.percentiles = {99};
  out.settings = {{"load", load_settings(values)}, {"serve", out.serve_arguments}};
  return out;
}

}  // namespace outrider::config

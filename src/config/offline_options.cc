#include "config/offline_options.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "config/option_values.h"

namespace outrider::config {
namespace {

constexpr const char* kNoProfiler = "there is no PyTorch profiler";
constexpr const char* kOneEngine = "the engine is Outrider's own";

Option count(const char* name, const char* initial, double min, const char* help) {
  return {.name = name,
          .kind = Kind::kInt,
          .initial = initial,
          .min = min,
          .max = 1 << 24,
          .common = true,
          .help = help};
}

std::vector<Option> common_options() {
  return {
      count("n", "1", 1, "Answers to each prompt."),
      {.name = "output-json",
       .kind = Kind::kString,
       .common = true,
       .help = "File for the figures, as JSON."},
      {.name = "disable-detokenize",
       .kind = Kind::kFlag,
       .initial = "false",
       .help = "Leave answers as token ids."},
      {.name = "disable-tqdm", .kind = Kind::kFlag, .initial = "false", .help = "No progress bar."},
      ignored("profile", Kind::kFlag, "false", kNoProfiler, ""),
  };
}

std::vector<Option> latency_options() {
  std::vector<Option> options = {
      count("input-len", "32", 1, "Tokens of each prompt."),
      count("output-len", "128", 1, "Tokens of each answer."),
      count("batch-size", "8", 1, "Prompts answered together."),
      count("num-iters-warmup", "10", 0, "Batches before the measurement."),
      count("num-iters", "30", 1, "Batches measured."),
      refused("use-beam-search", Kind::kFlag, "false", "not built yet: beam search", ""),
  };
  std::ranges::move(common_options(), std::back_inserter(options));
  return options;
}

std::vector<Option> throughput_options() {
  std::vector<Option> options = {
      {.name = "backend",
       .kind = Kind::kChoice,
       .initial = "vllm",
       .tier = Tier::kRefuse,
       .choices = {"vllm", "vllm-chat", "hf", "mii"},
       .why = kOneEngine,
       .help = "Kept for scripts."},
      {.name = "async-engine",
       .kind = Kind::kFlag,
       .initial = "false",
       .tier = Tier::kAccept,
       .help = "Kept for scripts; the engine is asynchronous."},
      {.name = "disable-frontend-multiprocessing",
       .kind = Kind::kFlag,
       .initial = "false",
       .tier = Tier::kAccept,
       .help = "Kept for scripts; there is one process."},
      {.name = "prefix-len",
       .kind = Kind::kInt,
       .min = 0,
       .max = 1 << 24,
       .help = "Tokens that all prompts of random and sonnet share, unless their own option is given."},
      refused("hf-max-batch-size", Kind::kInt, nullptr, kOneEngine, ""),
      refused("lora-path", Kind::kString, nullptr, "not built yet: LoRA adapters", ""),
  };
  std::ranges::move(common_options(), std::back_inserter(options));
  return options;
}

// --seed is the engine's, and no data set is the default where a file is given.
std::vector<Option> dataset_options() {
  std::vector<Option> options = bench_dataset_options();
  std::erase_if(options, [](const Option& option) { return std::string_view(option.name) == "seed"; });
  for (Option& option : options) {
    const std::string_view name = option.name;
    if (name == "dataset-path") option.aliases = {"--dataset"};
    if (name != "dataset-name") continue;
    option.initial = nullptr;
    option.works.push_back("random");
    option.help = "Where prompts come from. Unset: sharegpt with --dataset-path, else random.";
  }
  return options;
}

// What an engine without a server in front of it has: no addresses, no access log, no tools.
void add_engine_options(std::vector<OptionGroup>& groups) {
  constexpr std::string_view kLogOptions[] = {"log-level", "log-prefix", "disable-log-stats"};
  for (const OptionGroup& group : serve_table().groups()) {
    const std::string_view name = group.name;
    if (name == "frontend" || name == "tools") continue;
    groups.push_back(group);
    if (name != "logging") continue;
    std::erase_if(groups.back().options, [&](const Option& option) {
      return std::ranges::find(kLogOptions, option.name) == std::end(kLogOptions);
    });
  }
}

OptionTable make_table(HelpText text, std::vector<OptionGroup> own) {
  add_engine_options(own);
  return OptionTable(text, std::move(own));
}

void read_common(const OptionValues& values, OfflineOptions& out) {
  out.n = values.get<int64_t>("n");
  out.detokenize = !values.flag("disable-detokenize");
  out.disable_tqdm = values.flag("disable-tqdm");
  out.output_json = values.text("output-json");
}

}  // namespace

const OptionTable& latency_table() {
  static const OptionTable table =
      make_table({"usage: outrider bench latency [options]\n",
                  "Times batches of random prompts from the first token read to the last one "
                  "written, in an engine of this process.\n"
                  "The engine's options are those of outrider serve; --model is a flag."},
                 {{"latency", "batches that are timed", latency_options()}});
  return table;
}

const OptionTable& throughput_table() {
  static const OptionTable table =
      make_table({"usage: outrider bench throughput [options]\n",
                  "Answers all prompts of a data set as fast as an engine of this process can.\n"
                  "The engine's options are those of outrider serve; --model is a flag."},
                 {{"throughput", "what is measured", throughput_options()},
                  {"dataset", "prompts and lengths", dataset_options()}});
  return table;
}

LatencyOptions parse_bench_latency(const std::vector<std::string>& arguments,
                                   const Environment& environment) {
  LatencyOptions out;
  out.engine = parse_engine_command(latency_table(), arguments, environment, /*takes_model=*/false);
  if (out.engine.asks()) return out;
  // The same prompts come again in each batch. vLLM's latency benchmark has another default than its server.
  if (out.engine.given.count("enable-prefix-caching") == 0) out.engine.enable_prefix_caching = false;
  const OptionValues values(latency_table(), out.engine);
  read_common(values, out);
  out.input_len = values.get<int64_t>("input-len");
  out.output_len = values.get<int64_t>("output-len");
  out.batch_size = values.get<int64_t>("batch-size");
  out.num_iters_warmup = values.get<int64_t>("num-iters-warmup");
  out.num_iters = values.get<int64_t>("num-iters");
  return out;
}

ThroughputOptions parse_bench_throughput(const std::vector<std::string>& arguments,
                                         const Environment& environment) {
  ThroughputOptions out;
  out.engine = parse_engine_command(throughput_table(), arguments, environment, /*takes_model=*/false);
  if (out.engine.asks()) return out;
  const OptionValues values(throughput_table(), out.engine);
  read_common(values, out);
  out.dataset = read_dataset(values);
  if (const auto shared = values.find<int64_t>("prefix-len")) {
    if (!values.given("random-prefix-len")) out.dataset.random_prefix_len = *shared;
    if (!values.given("sonnet-prefix-len")) out.dataset.sonnet_prefix_len = *shared;
  }
  return out;
}

}  // namespace outrider::config

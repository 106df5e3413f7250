#include "config/bench_options.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "config/option_values.h"
#include "config/value.h"

namespace outrider::config {
namespace {

[[noreturn]] void refuse(const char* name, const std::string& reason) {
  refuse_value(*bench_serve_table().by_name(name), reason);
}

double parse_number(const char* name, const std::string& text, double max) {
  try {
    size_t used = 0;
    const double value = std::stod(text, &used);
    if (used == text.size() && value >= 0 && value <= max) return value;
  } catch (const std::logic_error&) {
    // Said below.
  }
  refuse(name, "'" + text + "' is no number from 0" + (std::isfinite(max) ? " to 100" : " on"));
}

std::vector<std::pair<std::string, std::string>> read_pairs(const OptionValues& values, const char* name) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& item : values.list(name)) {
    const size_t equals = item.find('=');
    if (equals == std::string::npos) refuse(name, "'" + item + "' is not KEY=VALUE");
    pairs.emplace_back(trim(std::string_view(item).substr(0, equals)),
                       trim(std::string_view(item).substr(equals + 1)));
  }
  return pairs;
}

void check_headers(const std::vector<std::pair<std::string, std::string>>& headers) {
  for (const auto& [key, value] : headers) {
    const auto is_token = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; };
    const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
    if (key.empty() || !std::all_of(key.begin(), key.end(), is_token) ||
        std::any_of(value.begin(), value.end(), is_control)) {
      refuse("header", "'" + key + "' is no header that can be sent");
    }
  }
}

void read_target(const OptionValues& values, const Environment& environment, BenchServeOptions& out) {
  out.model = values.text("model");
  out.served_model_name = values.text("served-model-name");
  out.tokenizer = values.text("tokenizer");
  out.endpoint_type = values.text(values.given("endpoint-type") ? "endpoint-type" : "backend");
  if (out.endpoint_type.empty()) out.endpoint_type = "openai";
  out.chat = out.endpoint_type == "openai-chat";
  out.endpoint = values.text("endpoint");
  if (out.endpoint.empty()) out.endpoint = out.chat ? "/v1/chat/completions" : "/v1/completions";
  const std::string ending = out.chat ? "chat/completions" : "completions";
  if (!out.endpoint.ends_with(ending)) {
    refuse("endpoint", out.endpoint + " does not end with " + ending + ", as --endpoint-type " +
                           out.endpoint_type + " needs");
  }
  out.base_url = values.text("base-url");
  if (out.base_url.empty()) {
    std::string host = values.text("host");
    if (host.empty()) host = "127.0.0.1";
    if (host.find(':') != std::string::npos && host[0] != '[') host = "[" + host + "]";
    out.base_url = "http://" + host + ":" + std::to_string(values.find<int64_t>("port").value_or(8000));
  }
  out.headers = read_pairs(values, "header");
  check_headers(out.headers);
  out.insecure = values.flag("insecure");
  if (const auto key = environment.find("OPENAI_API_KEY"); key != environment.end())
    out.api_key = key->second;
}

void read_traffic(const OptionValues& values, BenchServeOptions& bench) {
  TrafficOptions& out = bench.traffic;
  out.request_rate = values.find<double>("request-rate");
  out.burstiness = values.get<double>("burstiness");
  out.max_concurrency = values.find<int64_t>("max-concurrency");
  bench.num_warmups = values.get<int64_t>("num-warmups");
  bench.ready_check_timeout = values.get<int64_t>("ready-check-timeout-sec");
  bench.profile = values.flag("profile");
  out.ramp_up_strategy = values.text("ramp-up-strategy");
  if (out.ramp_up_strategy.empty()) return;
  if (out.request_rate) {
    refuse("ramp-up-strategy", "the ramp sets the request rate; remove --request-rate");
  }
  const auto start = values.find<int64_t>("ramp-up-start-rps");
  const auto end = values.find<int64_t>("ramp-up-end-rps");
  if (!start || !end) refuse("ramp-up-strategy", "needs --ramp-up-start-rps and --ramp-up-end-rps");
  if (*start > *end) refuse("ramp-up-start-rps", "must not be above --ramp-up-end-rps");
  if (*end == 0) refuse("ramp-up-end-rps", "must be at least 1");
  if (*start == 0 && out.ramp_up_strategy == "exponential") {
    refuse("ramp-up-start-rps", "an exponential ramp cannot begin at 0");
  }
  out.ramp_up_start_rps = *start;
  out.ramp_up_end_rps = *end;
}

void read_request(const OptionValues& values, BenchServeOptions& out) {
  out.ignore_eos = values.flag("ignore-eos");
  out.logprobs = values.find<int64_t>("logprobs");
  const auto put = [&](const char* option, const char* field) {
    const auto value = values.find<Json>(option);
    if (value) out.extra_body[field] = *value;
  };
  put("top-p", "top_p");
  put("top-k", "top_k");
  put("min-p", "min_p");
  out.extra_body["temperature"] = values.find<double>("temperature").value_or(0.0);
  put("frequency-penalty", "frequency_penalty");
  put("presence-penalty", "presence_penalty");
  put("repetition-penalty", "repetition_penalty");
  if (const auto extra = values.find<Json>("extra-body")) out.extra_body.update(*extra);
}

void read_report(const OptionValues& values, ReportOptions& out) {
  constexpr const char* kMetrics[] = {"ttft", "tpot", "itl", "e2el"};
  for (const std::string& item : split(values.text("percentile-metrics"), ',')) {
    const std::string metric(trim(item));
    if (metric.empty()) continue;
    if (std::find(std::begin(kMetrics), std::end(kMetrics), metric) == std::end(kMetrics)) {
      refuse("percentile-metrics", "'" + metric + "' is none of ttft, tpot, itl, e2el");
    }
    out.metrics.push_back(metric);
  }
  for (const std::string& item : split(values.text("metric-percentiles"), ',')) {
    out.percentiles.push_back(parse_number("metric-percentiles", std::string(trim(item)), 100));
  }
  for (const std::string& item : values.list("goodput")) {
    const size_t colon = item.find(':');
    const std::string name = item.substr(0, colon);
    if (colon == std::string::npos || (name != "ttft" && name != "tpot" && name != "e2el")) {
      refuse("goodput", "'" + item + "' is not ttft:MS, tpot:MS or e2el:MS");
    }
    out.goodput[name] = parse_number("goodput", item.substr(colon + 1), HUGE_VAL);
  }
  out.append = values.flag("append-result");
  out.save = values.flag("save-result") || out.append;
  out.detailed = values.flag("save-detailed");
  out.result_dir = values.text("result-dir");
  out.result_filename = values.text("result-filename");
  out.label = values.text("label");
  out.metadata = read_pairs(values, "metadata");
}

}  // namespace

DatasetOptions read_dataset(const OptionValues& values) {
  DatasetOptions out;
  out.name = values.text("dataset-name");
  out.path = values.text("dataset-path");
  if (out.name.empty()) out.name = out.path.empty() ? "random" : "sharegpt";
  const auto num_prompts = values.find<int64_t>("num-prompts");
  out.num_prompts = num_prompts.value_or(0);
  out.seed = static_cast<uint64_t>(values.find<int64_t>("seed").value_or(0));
  out.no_oversample = values.flag("no-oversample");
  out.disable_shuffle = values.flag("disable-shuffle");
  if (num_prompts == 0 && out.name != "custom") refuse("num-prompts", "0 is for --dataset-name custom only");
  const bool synthetic = out.name == "random" || out.name == "prefix_repetition";
  if (!synthetic && out.path.empty()) refuse("dataset-path", "--dataset-name " + out.name + " needs a file");

  const auto length = [&](const char* name, const char* general) {
    const auto common = values.find<int64_t>(general);
    return values.given(name) || !common ? values.get<int64_t>(name) : *common;
  };
  out.random_input_len = length("random-input-len", "input-len");
  out.random_output_len = length("random-output-len", "output-len");
  out.random_prefix_len = values.get<int64_t>("random-prefix-len");
  out.random_range_ratio = values.get<double>("random-range-ratio");
  out.sharegpt_output_len =
      values.find<int64_t>(values.given("sharegpt-output-len") ? "sharegpt-output-len" : "output-len");
  out.custom_output_len = length("custom-output-len", "output-len");
  out.custom_skip_chat_template = values.flag("custom-skip-chat-template");
  out.spec_bench_output_len = length("spec-bench-output-len", "output-len");
  out.spec_bench_category = values.text("spec-bench-category");
  out.sonnet_input_len = length("sonnet-input-len", "input-len");
  out.sonnet_output_len = length("sonnet-output-len", "output-len");
  out.sonnet_prefix_len = values.get<int64_t>("sonnet-prefix-len");
  out.repetition_prefix_len = values.get<int64_t>("prefix-repetition-prefix-len");
  out.repetition_suffix_len = values.get<int64_t>("prefix-repetition-suffix-len");
  out.repetition_num_prefixes = values.get<int64_t>("prefix-repetition-num-prefixes");
  out.repetition_output_len = length("prefix-repetition-output-len", "output-len");
  return out;
}

void read_client(const OptionValues& values, const Environment& environment, BenchServeOptions& out) {
  out.warnings = values.warnings;
  out.python_namespace = values.python_namespace();
  read_target(values, environment, out);
  out.dataset = read_dataset(values);
  out.dataset.request_id_prefix = values.text("request-id-prefix");
  out.dataset.for_chat = out.chat;
  read_traffic(values, out);
  read_request(values, out);
  out.disable_tqdm = values.flag("disable-tqdm");
}

BenchServeOptions parse_bench_serve(const std::vector<std::string>& arguments,
                                    const Environment& environment) {
  const OptionValues values(bench_serve_table(), arguments);
  BenchServeOptions out;
  if (out.take(values)) return out;
  read_client(values, environment, out);
  read_report(values, out.report);
  return out;
}

}  // namespace outrider::config

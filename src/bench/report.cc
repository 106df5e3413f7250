#include "bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/python_float.h"

namespace outrider::bench {
namespace {

using config::Json;

struct MetricTitle {
  const char* key;
  const char* name;
  const char* heading;
};
constexpr MetricTitle kMetricTitles[] = {
    {"ttft", "TTFT", "Time to First Token"},
    {"tpot", "TPOT", "Time per Output Token (excl. 1st token)"},
    {"itl", "ITL", "Inter-token Latency"},
    {"e2el", "E2EL", "End-to-end Latency"},
};

std::string whole(const char* label, int64_t value) { return fmt::format("{:<40} {:<10}\n", label, value); }
std::string real(const std::string& label, double value) {
  return fmt::format("{:<40} {:<10.2f}\n", label, value);
}

// 99 -> "99", 99.9 -> "99.9"
std::string percent_word(double percent) {
  return percent == std::floor(percent) ? fmt::format("{:.0f}", percent) : python_float(percent);
}

bool is_selected(const config::ReportOptions& options, const char* metric) {
  return std::find(options.metrics.begin(), options.metrics.end(), metric) != options.metrics.end();
}

std::string rate_text(const config::TrafficOptions& traffic) {
  return traffic.request_rate ? python_float(*traffic.request_rate) : "inf";
}

std::string default_file_name(const config::BenchServeOptions& options, const RunNames& names) {
  const config::TrafficOptions& traffic = options.traffic;
  const std::string label = options.report.label.empty() ? options.endpoint_type : options.report.label;
  const std::string rate = traffic.ramp_up_strategy.empty()
                               ? rate_text(traffic) + "qps"
                               : fmt::format("ramp-up-{}-{}qps-{}qps", traffic.ramp_up_strategy,
                                             traffic.ramp_up_start_rps, traffic.ramp_up_end_rps);
  const std::string concurrency =
      traffic.max_concurrency ? fmt::format("-concurrency{}", *traffic.max_concurrency) : "";
  const std::string model = names.model.substr(names.model.rfind('/') + 1);
  return fmt::format("{}-{}{}-{}-{}.json", label, rate, concurrency, model, names.date);
}

void add_details(const std::vector<Outcome>& outcomes, const std::vector<SampleRequest>& requests,
                 const Metrics& metrics, Json& result) {
  for (const char* name : {"input_lens", "output_lens", "ttfts", "itls", "generated_texts", "errors"}) {
    result[name] = Json::array();
  }
  result["output_lens"] = metrics.output_lens;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const Outcome& outcome = outcomes[i];
    result["input_lens"].push_back(requests[i].prompt_len);
    result["ttfts"].push_back(outcome.ttft);
    result["itls"].push_back(outcome.itl);
    result["generated_texts"].push_back(outcome.text);
    result["errors"].push_back(outcome.finished ? outcome.error : "not finished");
  }
}

void add_traffic(const config::TrafficOptions& traffic, Json& result) {
  result["request_rate"] = traffic.request_rate ? Json(*traffic.request_rate) : Json("inf");
  result["burstiness"] = traffic.burstiness;
  result["max_concurrency"] = traffic.max_concurrency ? Json(*traffic.max_concurrency) : Json();
  if (traffic.ramp_up_strategy.empty()) return;
  result["ramp_up_strategy"] = traffic.ramp_up_strategy;
  result["ramp_up_start_rps"] = traffic.ramp_up_start_rps;
  result["ramp_up_end_rps"] = traffic.ramp_up_end_rps;
}

}  // namespace

std::string table(const config::BenchServeOptions& options, const Metrics& metrics) {
  std::string out = fmt::format("{:=^50}\n", " Serving Benchmark Result ");
  out += whole("Successful requests:", metrics.completed);
  if (metrics.failed > 0) out += whole("Failed requests:", metrics.failed);
  if (metrics.unfinished > 0) out += whole("Unfinished requests:", metrics.unfinished);
  if (options.traffic.max_concurrency)
    out += whole("Maximum request concurrency:", *options.traffic.max_concurrency);
  if (options.traffic.request_rate)
    out += real("Request rate configured (RPS):", *options.traffic.request_rate);
  out += real("Benchmark duration (s):", metrics.duration);
  out += whole("Total input tokens:", metrics.total_input);
  out += whole("Total generated tokens:", metrics.total_output);
  out += real("Request throughput (req/s):", metrics.request_throughput);
  if (!options.report.goodput.empty()) out += real("Request goodput (req/s):", metrics.request_goodput);
  out += real("Output token throughput (tok/s):", metrics.output_throughput);
  out += real("Total Token throughput (tok/s):", metrics.total_token_throughput);
  for (const MetricTitle& title : kMetricTitles) {
    if (!is_selected(options.report, title.key)) continue;
    const Statistics& values = metrics.by_name.at(title.key);
    out += fmt::format("{:-^50}\n", title.heading);
    out += real(fmt::format("Mean {} (ms):", title.name), values.mean);
    out += real(fmt::format("Median {} (ms):", title.name), values.median);
    for (const auto& [percent, value] : values.percentiles) {
      out += real(fmt::format("P{} {} (ms):", percent_word(percent), title.name), value);
    }
  }
  return out + std::string(50, '=') + "\n";
}

std::string failure_list(const Metrics& metrics) {
  std::vector<std::pair<int64_t, std::string>> kinds;
  for (const auto& [kind, count] : metrics.failures) kinds.emplace_back(-count, kind);
  std::sort(kinds.begin(), kinds.end());
  std::string out;
  for (const auto& [count, kind] : kinds) out += fmt::format("{:>8}  {}\n", -count, kind);
  return out.empty() ? "" : "Failed requests, by kind:\n" + out;
}

std::string date_text(std::time_t now) {
  std::tm fields{};
  localtime_r(&now, &fields);
  return fmt::format("{:04}{:02}{:02}-{:02}{:02}{:02}", fields.tm_year + 1900, fields.tm_mon + 1,
                     fields.tm_mday, fields.tm_hour, fields.tm_min, fields.tm_sec);
}

Json result_json(const config::BenchServeOptions& options, const RunNames& names, const Metrics& metrics,
                 const std::vector<Outcome>& outcomes, const std::vector<SampleRequest>& requests,
                 const std::vector<RateChange>& rate_changes) {
  const auto text_or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  Json result = {{"date", names.date},
                 {"endpoint_type", options.endpoint_type},
                 {"label", text_or_null(options.report.label)},
                 {"model_id", names.model},
                 {"tokenizer_id", names.tokenizer},
                 {"num_prompts", options.dataset.num_prompts}};
  for (const auto& [key, value] : options.report.metadata) result[key] = value;
  add_traffic(options.traffic, result);
  result["duration"] = metrics.duration;
  result["completed"] = metrics.completed;
  result["failed"] = metrics.failed;
  if (metrics.unfinished > 0) result["unfinished"] = metrics.unfinished;
  if (!metrics.failures.empty()) result["failures"] = metrics.failures;
  result["total_input_tokens"] = metrics.total_input;
  result["total_output_tokens"] = metrics.total_output;
  result["request_throughput"] = metrics.request_throughput;
  result["request_goodput"] = options.report.goodput.empty() ? Json() : Json(metrics.request_goodput);
  result["output_throughput"] = metrics.output_throughput;
  result["total_token_throughput"] = metrics.total_token_throughput;
  if (options.report.detailed) add_details(outcomes, requests, metrics, result);
  for (const RateChange& change : rate_changes) {
    result["rps_change_events"].push_back({{"rps", change.rate}, {"timestamp", change.timestamp}});
  }
  for (const MetricTitle& title : kMetricTitles) {
    if (!is_selected(options.report, title.key)) continue;
    const Statistics& values = metrics.by_name.at(title.key);
    const std::string suffix = std::string("_") + title.key + "_ms";
    result["mean" + suffix] = values.mean;
    result["median" + suffix] = values.median;
    result["std" + suffix] = values.std;
    for (const auto& [percent, value] : values.percentiles)
      result["p" + percent_word(percent) + suffix] = value;
  }
  return result;
}

std::string result_path(const config::BenchServeOptions& options, const RunNames& names) {
  std::filesystem::path path = options.report.result_filename;
  if (path.empty()) path = default_file_name(options, names);
  if (options.report.result_dir.empty()) return path.string();
  std::error_code error;
  std::filesystem::create_directories(options.report.result_dir, error);
  if (error) {
    throw StartupError("argument --result-dir: cannot create " + options.report.result_dir + ": " +
                       error.message());
  }
  return (options.report.result_dir / path).string();
}

}  // namespace outrider::bench

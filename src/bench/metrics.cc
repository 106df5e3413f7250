#include "bench/metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace outrider::bench {

double percentile(const std::vector<double>& sorted, double percent) {
  const double rank = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = std::min(static_cast<size_t>(rank), sorted.size() - 1);
  const auto above = std::min(below + 1, sorted.size() - 1);
  const double part = rank - static_cast<double>(below);
  const double step = sorted[above] - sorted[below];
  return part >= 0.5 ? sorted[above] - step * (1 - part) : sorted[below] + step * part;
}

namespace {

// As numpy computes them: population deviation, linear percentiles.
Statistics statistics(std::vector<double> seconds, const std::vector<double>& percentiles) {
  constexpr double kMilliseconds = 1000;
  if (seconds.empty()) seconds = {0};
  std::sort(seconds.begin(), seconds.end());
  const auto count = static_cast<double>(seconds.size());
  const double mean = std::accumulate(seconds.begin(), seconds.end(), 0.0) / count;
  double squares = 0;
  for (const double value : seconds) squares += (value - mean) * (value - mean);
  Statistics out;
  out.mean = mean * kMilliseconds;
  out.std = std::sqrt(squares / count) * kMilliseconds;
  const size_t middle = seconds.size() / 2;
  out.median = (seconds.size() % 2 == 1 ? seconds[middle] : (seconds[middle - 1] + seconds[middle]) / 2) *
               kMilliseconds;
  for (const double percent : percentiles) {
    out.percentiles.emplace_back(percent, percentile(seconds, percent) * kMilliseconds);
  }
  return out;
}

}  // namespace

Metrics calculate_metrics(const std::vector<SampleRequest>& requests, const std::vector<Outcome>& outcomes,
                          double duration, const tokenizer::Tokenizer& tokenizer,
                          const config::ReportOptions& options) {
  Metrics out;
  out.duration = duration;
  std::map<std::string, std::vector<double>> values;
  int64_t good = 0;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const Outcome& outcome = outcomes[i];
    out.output_lens.push_back(0);
    if (!outcome.success) {
      out.unfinished += outcome.finished ? 0 : 1;
      out.failed += outcome.finished ? 1 : 0;
      if (outcome.finished) ++out.failures[outcome.error_kind];
      continue;
    }
    int64_t tokens = outcome.usage_tokens;
    if (tokens == 0) tokens = static_cast<int64_t>(tokenizer.encode(outcome.text, false).size());
    out.output_lens.back() = tokens;
    ++out.completed;
    out.total_input += requests[i].prompt_len;
    out.total_output += tokens;
    const double tpot = tokens > 1 ? (outcome.latency - outcome.ttft) / static_cast<double>(tokens - 1) : 0;
    if (tokens > 1) values["tpot"].push_back(tpot);
    values["ttft"].push_back(outcome.ttft);
    values["e2el"].push_back(outcome.latency);
    values["itl"].insert(values["itl"].end(), outcome.itl.begin(), outcome.itl.end());
    const std::map<std::string, double> seconds = {
        {"ttft", outcome.ttft}, {"tpot", tpot}, {"e2el", outcome.latency}};
    const auto within = [&](const auto& limit) { return seconds.at(limit.first) <= limit.second / 1000; };
    if (std::all_of(options.goodput.begin(), options.goodput.end(), within)) ++good;
  }
  const auto per_second = [&](int64_t count) {
    return duration > 0 ? static_cast<double>(count) / duration : 0;
  };
  out.request_throughput = per_second(out.completed);
  out.request_goodput = per_second(good);
  out.output_throughput = per_second(out.total_output);
  out.total_token_throughput = per_second(out.total_input + out.total_output);
  for (const char* name : {"ttft", "tpot", "itl", "e2el"}) {
    out.by_name[name] = statistics(std::move(values[name]), options.percentiles);
  }
  return out;
}

}  // namespace outrider::bench

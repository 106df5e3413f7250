#include "bench/sweep_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "base/python_float.h"

namespace outrider::bench {
namespace {

using config::Json;

constexpr const char* kFigures[] = {"completed",
                                    "failed",
                                    "duration",
                                    "total_input_tokens",
                                    "total_output_tokens",
                                    "request_throughput",
                                    "output_throughput",
                                    "total_token_throughput",
                                    "output_throughput_per_gpu",
                                    "total_token_throughput_per_gpu",
                                    "mean_ttft_ms",
                                    "median_ttft_ms",
                                    "p99_ttft_ms",
                                    "mean_tpot_ms",
                                    "median_tpot_ms",
                                    "p99_tpot_ms",
                                    "mean_itl_ms",
                                    "median_itl_ms",
                                    "p99_itl_ms",
                                    "mean_e2el_ms",
                                    "median_e2el_ms",
                                    "p99_e2el_ms"};

Json grid_json(const GridPoint& at) {
  return {{"tensor_parallel_size", at.tensor_parallel_size},
          {"max_num_seqs", at.max_num_seqs},
          {"max_concurrency", at.concurrency}};
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

std::string number_text(const Json& value) {
  return value.is_number_float() ? python_float(value.get<double>()) : value.dump();
}

// The point that `better` prefers to all others; of equal ones the first of the front.
size_t best_of(const std::vector<SweepPoint>& points, const std::vector<size_t>& front,
               const std::function<bool(const SweepPoint&, const SweepPoint&)>& better) {
  size_t best = front[0];
  for (const size_t i : front) {
    if (better(points[i], points[best])) best = i;
  }
  return best;
}

Json scenario_json(const SweepPoint& point) {
  Json out = grid_json(point.at);
  out["output_throughput_per_gpu"] = point.throughput_per_gpu();
  out["median_tpot_ms"] = point.tpot_ms();
  return out;
}

std::string scenario_line(const char* name, const SweepPoint& point) {
  return fmt::format(
      "{:<16} --tensor-parallel-size {} --max-num-seqs {}, {} requests at a time: {:.2f} tok/s per GPU, "
      "{:.2f} ms per token\n",
      name, point.at.tensor_parallel_size, point.at.max_num_seqs, point.at.concurrency,
      point.throughput_per_gpu(), point.tpot_ms());
}

SweepPoint read_point(const Json& row, const std::string& path) {
  SweepPoint point;
  point.at = {row.at("tensor_parallel_size").get<int64_t>(), row.at("max_num_seqs").get<int64_t>(),
              row.at("max_concurrency").get<int64_t>()};
  point.num_prompts = row.at("num_prompts").get<int64_t>();
  point.error = row.at("error").get<std::string>();
  point.figures = Json::object();
  for (const char* name : kFigures) {
    if (!row.contains(name)) continue;
    const double value = row.at(name).get<double>();
    if (!std::isfinite(value) || value < 0)
      throw StartupError("argument --resume: " + path + ": " + name + " is no figure");
    point.figures[name] = row.at(name);
  }
  if (point.ok()) static_cast<void>(point.throughput_per_gpu() + point.tpot_ms());
  return point;
}

}  // namespace

Json point_figures(const GridPoint& at, const Metrics& metrics) {
  const auto gpus = static_cast<double>(at.tensor_parallel_size);
  Json out = {{"completed", metrics.completed},
              {"failed", metrics.failed},
              {"duration", metrics.duration},
              {"total_input_tokens", metrics.total_input},
              {"total_output_tokens", metrics.total_output},
              {"request_throughput", metrics.request_throughput},
              {"output_throughput", metrics.output_throughput},
              {"total_token_throughput", metrics.total_token_throughput},
              {"output_throughput_per_gpu", metrics.output_throughput / gpus},
              {"total_token_throughput_per_gpu", metrics.total_token_throughput / gpus}};
  for (const char* name : {"ttft", "tpot", "itl", "e2el"}) {
    const Statistics& values = metrics.by_name.at(name);
    const std::string suffix = std::string("_") + name + "_ms";
    out["mean" + suffix] = values.mean;
    out["median" + suffix] = values.median;
    out["p99" + suffix] = values.percentiles.at(0).second;
  }
  return out;
}

std::vector<size_t> pareto_front(const std::vector<SweepPoint>& points) {
  std::vector<size_t> order;
  for (size_t i = 0; i < points.size(); ++i) {
    if (points[i].ok()) order.push_back(i);
  }
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    if (points[a].tpot_ms() != points[b].tpot_ms()) return points[a].tpot_ms() < points[b].tpot_ms();
    return points[a].throughput_per_gpu() > points[b].throughput_per_gpu();
  });
  std::vector<size_t> front;
  for (const size_t i : order) {
    const bool is_equal = !front.empty() &&
                          points[i].throughput_per_gpu() == points[front.back()].throughput_per_gpu() &&
                          points[i].tpot_ms() == points[front.back()].tpot_ms();
    if (front.empty() || is_equal ||
        points[i].throughput_per_gpu() > points[front.back()].throughput_per_gpu()) {
      front.push_back(i);
    }
  }
  return front;
}

std::optional<Scenarios> find_scenarios(const std::vector<SweepPoint>& points) {
  const std::vector<size_t> front = pareto_front(points);
  if (front.empty()) return std::nullopt;
  Scenarios out;
  out.min_latency = front.front();
  out.max_throughput = best_of(points, front, [](const SweepPoint& a, const SweepPoint& b) {
    return a.throughput_per_gpu() > b.throughput_per_gpu();
  });
  out.balanced = best_of(points, front, [](const SweepPoint& a, const SweepPoint& b) {
    return a.throughput_per_gpu() * b.tpot_ms() > b.throughput_per_gpu() * a.tpot_ms();
  });
  return out;
}

std::string sweep_csv(const std::vector<SweepPoint>& points) {
  std::string out = "tensor_parallel_size,max_num_seqs,max_concurrency,num_prompts,on_front";
  for (const char* name : kFigures) out += std::string(",") + name;
  out += ",error\n";
  const std::vector<size_t> front = pareto_front(points);
  for (size_t i = 0; i < points.size(); ++i) {
    const SweepPoint& point = points[i];
    out += fmt::format("{},{},{},{},{}", point.at.tensor_parallel_size, point.at.max_num_seqs,
                       point.at.concurrency, point.num_prompts, std::ranges::count(front, i));
    for (const char* name : kFigures) {
      out += "," + (point.figures.contains(name) ? number_text(point.figures[name]) : std::string());
    }
    out += "," + csv_cell(point.error) + "\n";
  }
  return out;
}

Json sweep_json(const SweepNames& names, const Json& settings, const std::vector<SweepPoint>& points) {
  Json out = {
      {"date", names.date}, {"model_id", names.model}, {"device", names.device}, {"settings", settings}};
  out["points"] = Json::array();
  for (const SweepPoint& point : points) {
    Json row = grid_json(point.at);
    row["num_prompts"] = point.num_prompts;
    row["error"] = point.error;
    row.update(point.figures);
    out["points"].push_back(std::move(row));
  }
  out["failed_points"] = std::ranges::count_if(points, [](const SweepPoint& point) { return !point.ok(); });
  out["pareto_front"] = pareto_front(points);
  out["scenarios"] = nullptr;
  if (const auto found = find_scenarios(points)) {
    out["scenarios"] = {{"max_throughput", scenario_json(points[found->max_throughput])},
                        {"min_latency", scenario_json(points[found->min_latency])},
                        {"balanced", scenario_json(points[found->balanced])}};
  }
  return out;
}

std::vector<SweepPoint> read_points(const std::string& text, const Json& settings, const std::string& path) {
  const Json file = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  std::vector<SweepPoint> points;
  try {
    if (file.at("settings") != settings) {
      throw StartupError("argument --resume: " + path +
                         " was made with other options; give the same, or another --output-dir");
    }
    for (const Json& row : file.at("points")) points.push_back(read_point(row, path));
  } catch (const Json::exception&) {
    throw StartupError("argument --resume: " + path + " is no result of a sweep; remove it");
  }
  return points;
}

std::string sweep_table(const std::vector<SweepPoint>& points) {
  std::string out = fmt::format("{:=^86}\n{:>4} {:>9} {:>12} {:>14} {:>14} {:>14} {:>13}\n", " Sweep ", "TP",
                                "max seqs", "concurrency", "tok/s per GPU", "TPOT ms", "TTFT ms", "");
  const std::vector<size_t> front = pareto_front(points);
  size_t num_failed = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    const SweepPoint& point = points[i];
    out += fmt::format("{:>4} {:>9} {:>12} ", point.at.tensor_parallel_size, point.at.max_num_seqs,
                       point.at.concurrency);
    if (!point.ok()) {
      ++num_failed;
      out += " failed: " + point.error + "\n";
      continue;
    }
    out += fmt::format("{:>14.2f} {:>14.2f} {:>14.2f} {:>13}\n", point.throughput_per_gpu(), point.tpot_ms(),
                       point.figures.at("median_ttft_ms").get<double>(),
                       std::ranges::count(front, i) > 0 ? "on the front" : "");
  }
  if (num_failed > 0) out += fmt::format("{} of {} points failed\n", num_failed, points.size());
  if (const auto found = find_scenarios(points)) {
    out += scenario_line("Max throughput:", points[found->max_throughput]);
    out += scenario_line("Min latency:", points[found->min_latency]);
    out += scenario_line("Balanced:", points[found->balanced]);
  }
  return out + std::string(86, '=') + "\n";
}

}  // namespace outrider::bench

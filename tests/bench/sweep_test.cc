#include <gmock/gmock.h>

#include <random>
#include <regex>
#include <set>

#include "base/error.h"
#include "bench/sweep_plot.h"
#include "bench/sweep_report.h"

namespace outrider::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

SweepPoint made_up(GridPoint at, double throughput, double tpot) {
  Metrics metrics;
  metrics.completed = 5;
  metrics.output_throughput = throughput * static_cast<double>(at.tensor_parallel_size);
  for (const char* name : {"ttft", "tpot", "itl", "e2el"}) {
    metrics.by_name[name] = {.mean = tpot + 1, .median = tpot, .std = 0, .percentiles = {{99, 2 * tpot}}};
  }
  return {.at = at, .num_prompts = 10, .error = "", .figures = point_figures(at, metrics)};
}

SweepPoint broken(GridPoint at, const std::string& error) {
  return {.at = at, .num_prompts = 10, .error = error, .figures = config::Json::object()};
}

// What full-size servers look like: more at a time is more throughput and more time per token, to a limit.
std::vector<SweepPoint> typical() {
  std::vector<SweepPoint> points;
  for (const int64_t tp : {1, 2, 4}) {
    for (const int64_t n : {8, 16, 32, 64, 128, 256, 512}) {
      const auto size = static_cast<double>(n), gpus = static_cast<double>(tp);
      const double tpot = 3 + 7 / gpus + size * 0.055 / gpus + 0.4 * (gpus - 1);
      points.push_back(made_up({tp, n, n}, size / tpot * 1000 / gpus, tpot));
    }
  }
  return points;
}

bool beats(const SweepPoint& a, const SweepPoint& b) {
  return a.throughput_per_gpu() >= b.throughput_per_gpu() && a.tpot_ms() <= b.tpot_ms() &&
         (a.throughput_per_gpu() > b.throughput_per_gpu() || a.tpot_ms() < b.tpot_ms());
}

TEST(ParetoFront, IsWhatNoOtherPointBeats) {
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    std::vector<SweepPoint> points;
    const size_t count = random() % 14;
    for (size_t i = 0; i < count; ++i) {
      // Few different values: equal points and equal coordinates are common.
      points.push_back(made_up({1, static_cast<int64_t>(i) + 1, 1}, static_cast<double>(random() % 6),
                               static_cast<double>(1 + random() % 6)));
      if (random() % 5 == 0) points.back().error = "failed";
    }
    std::set<size_t> wanted;
    for (size_t i = 0; i < count; ++i) {
      const bool beaten = std::ranges::any_of(
          points, [&](const SweepPoint& other) { return other.ok() && beats(other, points[i]); });
      if (points[i].ok() && !beaten) wanted.insert(i);
    }
    const std::vector<size_t> front = pareto_front(points);
    EXPECT_EQ(std::set<size_t>(front.begin(), front.end()), wanted);
    EXPECT_EQ(front.size(), wanted.size());
    for (size_t i = 1; i < front.size(); ++i) {
      EXPECT_LE(points[front[i - 1]].tpot_ms(), points[front[i]].tpot_ms());
    }
    const auto best = find_scenarios(points);
    ASSERT_EQ(best.has_value(), !wanted.empty());
    for (const size_t i : wanted) {
      EXPECT_GE(points[best->max_throughput].throughput_per_gpu(), points[i].throughput_per_gpu());
      EXPECT_LE(points[best->min_latency].tpot_ms(), points[i].tpot_ms());
      EXPECT_GE(points[best->balanced].throughput_per_gpu() / points[best->balanced].tpot_ms(),
                points[i].throughput_per_gpu() / points[i].tpot_ms());
    }
  }
}

TEST(SweepFigures, ThroughputIsDividedByTheGpus) {
  Metrics metrics;
  metrics.output_throughput = 100;
  metrics.total_token_throughput = 240;
  for (const char* name : {"ttft", "tpot", "itl", "e2el"}) metrics.by_name[name].percentiles = {{99, 1}};
  const config::Json figures = point_figures({4, 8, 8}, metrics);
  EXPECT_EQ(figures["output_throughput"], 100);
  EXPECT_EQ(figures["output_throughput_per_gpu"], 25);
  EXPECT_EQ(figures["total_token_throughput_per_gpu"], 60);
}

TEST(SweepFiles, TheTableHasARowForEachPointAndQuotesErrors) {
  const std::vector<SweepPoint> points = {made_up({1, 8, 8}, 100, 10), broken({2, 8, 8}, "ended: \"a\", b"),
                                          made_up({1, 16, 16}, 90, 12)};
  const std::string csv = sweep_csv(points);
  EXPECT_THAT(csv,
              testing::StartsWith("tensor_parallel_size,max_num_seqs,max_concurrency,num_prompts,on_front,"));
  EXPECT_EQ(std::ranges::count(csv, '\n'), 4);
  EXPECT_THAT(csv, HasSubstr("\n1,8,8,10,1,5,0,"));
  EXPECT_THAT(csv, HasSubstr("\n1,16,16,10,0,5,0,"));
  EXPECT_THAT(csv, HasSubstr(",\"ended: \"\"a\"\", b\"\n"));
  const std::string table = sweep_table(points);
  EXPECT_THAT(table, HasSubstr("failed: ended"));
  EXPECT_THAT(table, HasSubstr("1 of 3 points failed"));
  EXPECT_THAT(table, HasSubstr("Max throughput:  --tensor-parallel-size 1 --max-num-seqs 8, 8 requests"));
  EXPECT_THAT(sweep_table({points[1]}), testing::Not(HasSubstr("Balanced")));
}

TEST(SweepFiles, WhatIsWrittenIsReadAgainWithTheSameOptionsOnly) {
  const config::Json settings = {{"serve", {"--device", "cpu"}}};
  const std::vector<SweepPoint> points = {made_up({1, 8, 8}, 123.456, 10.1), broken({2, 8, 8}, "x")};
  const config::Json json = sweep_json({"d", "m", "CPU"}, settings, points);
  EXPECT_EQ(json["failed_points"], 1);
  EXPECT_EQ(json["pareto_front"], config::Json({0}));
  EXPECT_EQ(json["scenarios"]["balanced"]["max_num_seqs"], 8);
  EXPECT_TRUE(sweep_json({}, settings, {points[1]})["scenarios"].is_null());
  const std::vector<SweepPoint> again = read_points(json.dump(), settings, "f");
  ASSERT_EQ(again.size(), 2);
  EXPECT_EQ(sweep_csv(again), sweep_csv(points));

  const auto refusal = [&](const std::string& text, const config::Json& wanted) -> std::string {
    try {
      read_points(text, wanted, "some.json");
    } catch (const StartupError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal(json.dump(), {{"serve", {"--device", "cuda"}}}), HasSubstr("other options"));
  for (const char* text : {"", "[]", "{", "{\"settings\":{\"serve\":[\"--device\",\"cpu\"]}}"}) {
    EXPECT_THAT(refusal(text, settings), HasSubstr("some.json is no result of a sweep"));
  }
  for (const char* field : {"median_tpot_ms", "output_throughput_per_gpu", "error", "max_num_seqs"}) {
    config::Json poor = json;
    poor["points"][0].erase(field);
    EXPECT_THAT(refusal(poor.dump(), settings), HasSubstr("some.json")) << field;
    poor["points"][0][field] = config::Json::array();
    EXPECT_THAT(refusal(poor.dump(), settings), HasSubstr("some.json")) << field;
  }
  config::Json negative = json;
  negative["points"][0]["median_tpot_ms"] = -1;
  EXPECT_THAT(refusal(negative.dump(), settings), HasSubstr("median_tpot_ms is no figure"));
}

TEST(SweepPlot, TicksAreRoundAndReachTheLargestValue) {
  EXPECT_THAT(axis_ticks(10), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(axis_ticks(0), ElementsAre(0, 0.2, testing::DoubleNear(0.4, 1e-12), testing::_, testing::_, 1));
  for (double largest = 1e-4; largest < 1e7; largest *= 1.37) {
    const std::vector<double> ticks = axis_ticks(largest);
    EXPECT_GE(ticks.back(), largest);
    EXPECT_LT(ticks[ticks.size() - 2], largest);
    EXPECT_LE(ticks.size(), 8);
    EXPECT_GE(ticks.size(), 4);
  }
}

struct Label {
  double x0, y0, x1, y1;
};

// Boxes of the points' names, at seven pixels a letter.
std::vector<Label> labels_of(const std::string& svg) {
  static const std::regex kText(
      "<text x=\"([-0-9.]+)\" y=\"([-0-9.]+)\" class=\"(name|scene)\" "
      "text-anchor=\"(start|end)\">([^<]*)</text>");
  std::vector<Label> labels;
  for (std::sregex_iterator it(svg.begin(), svg.end(), kText), end; it != end; ++it) {
    const double x = std::stod((*it)[1]), y = std::stod((*it)[2]);
    const double width = 6.5 * static_cast<double>((*it)[5].length());
    const bool is_left = (*it)[4] == "end";
    labels.push_back({is_left ? x - width : x, y - 9, is_left ? x : x + width, y + 2});
  }
  return labels;
}

TEST(SweepPlot, EachPointIsMarkedOnceWithinTheAxesAndNoLabelCoversAnother) {
  std::vector<SweepPoint> points = typical();
  points.push_back(broken({8, 8, 8}, "no"));
  const std::string svg = sweep_svg({"20260101-000000", "a <b> & \"c\"", "NVIDIA H200"}, points);
  EXPECT_THAT(svg, HasSubstr("a &lt;b&gt; &amp; &quot;c&quot;"));
  static const std::regex kMark(
      "<circle cx=\"([-0-9.]+)\" cy=\"([-0-9.]+)\" r=\"5\" class=\"(on|off)\" data-point=\"(\\d+)\"");
  std::set<std::string> marked;
  for (std::sregex_iterator it(svg.begin(), svg.end(), kMark), end; it != end; ++it) {
    EXPECT_TRUE(marked.insert((*it)[4]).second);
    EXPECT_GE(std::stod((*it)[1]), 92);
    EXPECT_LE(std::stod((*it)[1]), 852);
    EXPECT_GE(std::stod((*it)[2]), 92);
    EXPECT_LE(std::stod((*it)[2]), 484);
  }
  EXPECT_EQ(marked.size(), points.size() - 1);
  for (const char* text : {"max throughput", "min latency", "balanced", "TP1 · 8", "Pareto front", "(ms)",
                           "per GPU (tokens/s)"}) {
    EXPECT_THAT(svg, HasSubstr(text));
  }
  const std::vector<Label> labels = labels_of(svg);
  EXPECT_GE(labels.size(), points.size() - 1);
  for (size_t i = 0; i < labels.size(); ++i) {
    EXPECT_LT(labels[i].x1, 880);
    EXPECT_GT(labels[i].x0, 92);
    for (size_t k = 0; k < i; ++k) {
      const bool apart = labels[i].x1 <= labels[k].x0 || labels[k].x1 <= labels[i].x0 ||
                         labels[i].y1 <= labels[k].y0 || labels[k].y1 <= labels[i].y0;
      EXPECT_TRUE(apart) << i << " and " << k;
    }
  }
}

TEST(SweepPlot, OnePointIsAPictureToo) {
  const std::string svg = sweep_svg({"d", "m", "CPU"}, {made_up({1, 8, 4}, 0, 0)});
  EXPECT_THAT(svg, HasSubstr("8 / 4"));
  EXPECT_THAT(svg, testing::Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace outrider::bench

#include "bench/metrics.h"

#include <gmock/gmock.h>

#include "bench/report.h"
#include "cases.h"

namespace outrider::bench {
namespace {

using testing::HasSubstr;
using testing::Not;

struct MadeUpRun {
  config::BenchServeOptions options;
  std::vector<SampleRequest> requests;
  std::vector<Outcome> outcomes;
  Metrics metrics;
};

MadeUpRun replay(const nlohmann::json& item, std::vector<std::string> words = {}) {
  std::string percentiles;
  for (const double percent : item["percentiles"])
    percentiles += (percentiles.empty() ? "" : ",") + std::to_string(percent);
  words.insert(words.end(), {"--metric-percentiles", percentiles});
  if (!item["max_concurrency"].is_null())
    words.insert(words.end(), {"--max-concurrency", item["max_concurrency"].dump()});
  if (item["request_rate"] != "inf")
    words.insert(words.end(), {"--request-rate", item["request_rate"].dump()});
  for (const auto& [name, limit] : item["goodput"].items()) {
    words.insert(words.end(), {"--goodput", name + ":" + limit.dump()});
  }
  MadeUpRun run;
  run.options = options_from(nlohmann::json::object(), words);
  for (const auto& [name, limit] : item["goodput"].items()) run.options.report.goodput[name] = limit;
  for (const auto& made : item["outcomes"]) {
    run.requests.push_back({"x", made["prompt_len"], 9, ""});
    Outcome outcome;
    outcome.finished = true;
    outcome.success = made["success"];
    outcome.ttft = made["ttft"];
    outcome.latency = made["latency"];
    outcome.itl = made["itl"].get<std::vector<double>>();
    outcome.usage_tokens = made["tokens"];
    outcome.text = made["text"];
    if (!outcome.success) outcome.fail("HTTP 500 Oops", "details");
    run.outcomes.push_back(outcome);
  }
  run.metrics =
      calculate_metrics(run.requests, run.outcomes, item["duration"], *pocket(), run.options.report);
  return run;
}

std::string without_failed_line(std::string text) {
  const size_t begin = text.find("Failed requests:");
  if (begin != std::string::npos) text.erase(begin, text.find('\n', begin) + 1 - begin);
  return text;
}

TEST(Metrics, TheTableIsVllmsToTheLastBlank) {
  for (const auto& item : read_cases("metrics.json")) {
    const MadeUpRun run = replay(item);
    EXPECT_EQ(without_failed_line(table(run.options, run.metrics)), item["table"].get<std::string>());
  }
}

TEST(Metrics, TheResultHasVllmsKeysInTheirOrderAndItsValues) {
  for (const auto& item : read_cases("metrics.json")) {
    const MadeUpRun run = replay(item);
    config::Json result =
        result_json(run.options, {"d", "m", "t"}, run.metrics, run.outcomes, run.requests, {});
    std::vector<std::string> keys;
    for (const auto& [key, value] : result.items()) keys.push_back(key);
    const std::vector<std::string> head = {
        "date",         "endpoint_type", "label",           "model_id", "tokenizer_id", "num_prompts",
        "request_rate", "burstiness",    "max_concurrency", "duration", "completed"};
    EXPECT_EQ(std::vector<std::string>(keys.begin(), keys.begin() + 11), head);
    EXPECT_EQ(run.metrics.output_lens, item["result"]["output_lens"].get<std::vector<int64_t>>());
    for (const auto& [key, value] : item["result"].items()) {
      if (key == "output_lens") continue;
      ASSERT_TRUE(result.contains(key)) << key;
      if (value.is_number_float()) {
        EXPECT_NEAR(result[key].get<double>(), value.get<double>(), 1e-9 + 1e-9 * value.get<double>()) << key;
      } else {
        EXPECT_EQ(result[key].dump(), value.dump()) << key;
      }
    }
  }
}

TEST(Metrics, TheRecipesTableHasItsFourBlocksWithoutBeingAsked) {
  const MadeUpRun run = replay(read_cases("metrics.json")[0]);
  const std::string text = table(run.options, run.metrics);
  for (const char* line :
       {"Successful requests:                     ", "Benchmark duration (s):                  ",
        "Total Token throughput (tok/s):          ",
        "---------------Time to First Token----------------\nMean TTFT (ms): ",
        "-----Time per Output Token (excl. 1st token)------\nMean TPOT (ms): ",
        "---------------Inter-token Latency----------------\nMean ITL (ms): ",
        "----------------End-to-end Latency----------------\nMean E2EL (ms): ", "\nP99 E2EL (ms): "}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(Metrics, OnlyTheMetricsAskedForAreShown) {
  const MadeUpRun run = replay(read_cases("metrics.json")[0], {"--percentile-metrics", "e2el,ttft"});
  const std::string text = table(run.options, run.metrics);
  EXPECT_THAT(text, HasSubstr("E2EL"));
  EXPECT_THAT(text, Not(HasSubstr("TPOT")));
  const auto result = result_json(run.options, {}, run.metrics, run.outcomes, run.requests, {});
  EXPECT_TRUE(result.contains("p99_ttft_ms"));
  EXPECT_FALSE(result.contains("mean_itl_ms"));
}

TEST(Metrics, DetailsComeForEachRequestWhenAskedFor) {
  const MadeUpRun run =
      replay(read_cases("metrics.json")[0], {"--save-detailed", "--metadata", "tp=1", "gpu = a b"});
  const auto result = result_json(run.options, {}, run.metrics, run.outcomes, run.requests, {{3, "t"}});
  EXPECT_EQ(result["tp"], "1");
  EXPECT_EQ(result["gpu"], "a b");
  EXPECT_EQ(result["errors"].size(), run.outcomes.size());
  EXPECT_EQ(result["itls"].size(), run.outcomes.size());
  EXPECT_EQ(result["rps_change_events"][0]["rps"], 3);
  EXPECT_THAT(result["errors"].dump(), HasSubstr("HTTP 500 Oops: details"));
}

TEST(Metrics, FailuresAreCountedByKind) {
  MadeUpRun run = replay(read_cases("metrics.json")[0]);
  run.outcomes[0] = {};
  run.outcomes[1] = {};
  run.outcomes[1].finished = true;
  run.outcomes[1].fail("connection reset");
  run.metrics = calculate_metrics(run.requests, run.outcomes, 1, *pocket(), run.options.report);
  EXPECT_EQ(run.metrics.unfinished, 1);
  EXPECT_EQ(run.metrics.failures.at("connection reset"), 1);
  EXPECT_EQ(run.metrics.completed + run.metrics.failed + 1, static_cast<int64_t>(run.outcomes.size()));
  EXPECT_THAT(failure_list(run.metrics), HasSubstr("1  connection reset\n"));
}

}  // namespace
}  // namespace outrider::bench

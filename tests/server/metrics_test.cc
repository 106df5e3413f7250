#include "server/metrics.h"

#include <gtest/gtest.h>

#include <cctype>
#include <sstream>

namespace outrider::server {
namespace {

ServerOptions options_for(int64_t max_model_len = 10240) {
  ServerOptions options;
  options.served_model_names = {"scout"};
  options.max_model_len = max_model_len;
  return options;
}

bool has_line(const std::string& page, const std::string& line) {
  return page.find("\n" + line + "\n") != std::string::npos;
}

const std::string kLabels = "{engine=\"0\",model_name=\"scout\"}";

TEST(MetricsPage, every_name_that_dashboards_read_is_there_from_the_start) {
  Metrics metrics(options_for());
  const std::string page = metrics.exposition();
  for (const char* name :
       {"num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "gpu_cache_usage_perc",
        "prefix_cache_queries_total", "prefix_cache_hits_total", "gpu_prefix_cache_queries_total",
        "gpu_prefix_cache_hits_total", "num_preemptions_total", "prompt_tokens_total",
        "generation_tokens_total", "prompt_tokens_created"}) {
    EXPECT_NE(page.find("\nvllm:" + std::string(name) + kLabels + " "), std::string::npos) << name;
  }
  for (const char* name :
       {"request_prompt_tokens", "request_generation_tokens", "iteration_tokens_total",
        "request_max_num_generation_tokens", "request_params_n", "request_params_max_tokens",
        "time_to_first_token_seconds", "inter_token_latency_seconds", "time_per_output_token_seconds",
        "e2e_request_latency_seconds", "request_queue_time_seconds", "request_prefill_time_seconds",
        "request_decode_time_seconds", "request_inference_time_seconds"}) {
    for (const char* part : {"_count", "_sum", "_created"}) {
      EXPECT_NE(page.find("\nvllm:" + std::string(name) + part + kLabels + " "), std::string::npos)
          << name << part;
    }
    EXPECT_TRUE(has_line(
        page, "vllm:" + std::string(name) + "_bucket{engine=\"0\",le=\"+Inf\",model_name=\"scout\"} 0.0"))
        << name;
  }
  for (const char* reason : {"stop", "length", "abort"}) {
    EXPECT_TRUE(has_line(page, std::string("vllm:request_success_total{engine=\"0\",finished_reason=\"") +
                                   reason + "\",model_name=\"scout\"} 0.0"));
  }
  EXPECT_TRUE(has_line(page, "vllm:num_requests_waiting" + kLabels + " 0.0"));
  EXPECT_TRUE(has_line(page, "# TYPE vllm:prompt_tokens_total counter"));
  EXPECT_TRUE(has_line(page, "# TYPE vllm:prompt_tokens_created gauge"));
  EXPECT_NE(page.find("process_resident_memory_bytes "), std::string::npos);
}

TEST(MetricsPage, token_bounds_end_at_the_context_length) {
  Metrics metrics(options_for(60));
  const std::string page = metrics.exposition();
  const std::string bucket = "vllm:request_prompt_tokens_bucket{engine=\"0\",le=\"";
  EXPECT_NE(page.find(bucket + "50.0\""), std::string::npos);
  EXPECT_EQ(page.find(bucket + "100.0\""), std::string::npos);
}

TEST(MetricsPage, a_step_is_counted) {
  Metrics metrics(options_for());
  engine::StepStats stats;
  stats.running = 3;
  stats.waiting = 2;
  stats.kv_usage = 0.25;
  stats.prompt_tokens = 100;
  stats.generation_tokens = 3;
  stats.prefix_queries = 50;
  stats.prefix_hits = 20;
  stats.time_to_first_token = {0.05};
  stats.inter_token_latency = {0.02, 0.03};
  engine::FinishedRequest done;
  done.reason = engine::FinishReason::kLength;
  done.prompt_tokens = 100;
  done.generation_tokens = 5;
  done.decode_seconds = 0.4;
  engine::FinishedRequest aborted;
  aborted.reason = engine::FinishReason::kAbort;
  stats.finished = {done, aborted};
  metrics.on_step(stats);
  const std::string page = metrics.exposition();
  EXPECT_TRUE(has_line(page, "vllm:num_requests_running" + kLabels + " 3.0"));
  EXPECT_TRUE(has_line(page, "vllm:gpu_cache_usage_perc" + kLabels + " 0.25"));
  EXPECT_TRUE(has_line(page, "vllm:prompt_tokens_total" + kLabels + " 100.0"));
  EXPECT_TRUE(has_line(page, "vllm:gpu_prefix_cache_hits_total" + kLabels + " 20.0"));
  EXPECT_TRUE(has_line(page, "vllm:inter_token_latency_seconds_count" + kLabels + " 2.0"));
  EXPECT_TRUE(has_line(page, "vllm:time_per_output_token_seconds_count" + kLabels + " 2.0"));
  EXPECT_TRUE(has_line(page, "vllm:iteration_tokens_total_sum" + kLabels + " 103.0"));
  EXPECT_TRUE(has_line(page, "vllm:request_prompt_tokens_count" + kLabels + " 1.0"))
      << "not for the aborted one";
  EXPECT_TRUE(has_line(page, "vllm:request_time_per_output_token_seconds_sum" + kLabels + " 0.1"));
  EXPECT_TRUE(has_line(
      page, "vllm:request_success_total{engine=\"0\",finished_reason=\"abort\",model_name=\"scout\"} 1.0"));
}

TEST(MetricsPage, every_line_is_a_comment_or_a_sample_with_sorted_labels) {
  ServerOptions options = options_for();
  options.served_model_names = {"we\"ird\\name\n"};
  Metrics metrics(options);
  metrics.set_cache_config({{"block_size", "16"}, {"cache_dtype", "auto"}});
  metrics.on_http({"/v1/completions", "POST", 200, 0.2, 10, 20});
  std::istringstream page(metrics.exposition());
  int samples = 0;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("# HELP ") || line.starts_with("# TYPE ")) continue;
    ASSERT_FALSE(line.empty());
    ASSERT_TRUE(std::isalpha(static_cast<unsigned char>(line[0]))) << line;
    const std::string value = line.substr(line.rfind(' ') + 1);
    size_t used = 0;
    std::stod(value, &used);
    EXPECT_EQ(used, value.size()) << line;
    std::string previous;
    for (size_t at = line.find('{'); at != std::string::npos && line[at] != '}';) {
      const size_t equals = line.find('=', at);
      const std::string name = line.substr(at + 1, equals - at - 1);
      EXPECT_LT(previous, name) << line;
      previous = name;
      at = equals + 2;
      while (line[at] != '"') at += line[at] == '\\' ? 2 : 1;
      ++at;
    }
    ++samples;
  }
  EXPECT_GT(samples, 200);
}

TEST(MetricsPage, disabled_stats_leave_only_http_and_process) {
  ServerOptions options = options_for();
  options.disable_log_stats = true;
  Metrics metrics(options);
  metrics.on_http({"none", "GET", 404, 0.2, 0, 22});
  const std::string page = metrics.exposition();
  EXPECT_EQ(page.find("vllm:"), std::string::npos);
  EXPECT_TRUE(has_line(page, "http_requests_total{handler=\"none\",method=\"GET\",status=\"4xx\"} 1.0"));
  EXPECT_TRUE(has_line(page, "http_response_size_bytes_sum{handler=\"none\"} 22.0"));
}

TEST(MetricsPage, probes_are_not_counted_and_odd_methods_share_a_label) {
  Metrics metrics(options_for());
  metrics.on_http({"/health", "GET", 200, 0.2, 0, 0});
  metrics.on_http({"none", "X-RANDOM-1", 404, 0.2, 0, 0});
  metrics.on_http({"none", "X-RANDOM-2", 404, 0.2, 0, 0});
  const std::string page = metrics.exposition();
  EXPECT_EQ(page.find("/health"), std::string::npos);
  EXPECT_TRUE(has_line(page, "http_requests_total{handler=\"none\",method=\"OTHER\",status=\"4xx\"} 2.0"));
}

TEST(StatsLine, averages_over_the_interval_and_falls_quiet_when_idle) {
  Metrics metrics(options_for());
  EXPECT_TRUE(metrics.take_stats_line().quiet);
  engine::StepStats stats;
  stats.generation_tokens = 10;
  stats.running = 1;
  stats.kv_usage = 0.123;
  stats.prefix_queries = 10;
  stats.prefix_hits = 5;
  metrics.on_step(stats);
  const Metrics::StatsLine busy = metrics.take_stats_line();
  EXPECT_FALSE(busy.quiet);
  EXPECT_NE(busy.text.find(
                "Running: 1 reqs, Waiting: 0 reqs, GPU KV cache usage: 12.3%, Prefix cache hit rate: 50.0%"),
            std::string::npos);
  EXPECT_FALSE(metrics.take_stats_line().quiet) << "one line of zeros after work ends";
  EXPECT_TRUE(metrics.take_stats_line().quiet);
}

}  // namespace
}  // namespace outrider::server

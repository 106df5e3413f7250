#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <map>
#include <mutex>

#include "server/exposition.h"

namespace outrider::server {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;
using Bounds = Histogram::BucketBoundaries;

const Bounds kLatency = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                         30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
const Bounds kInterToken = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                            0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
const Bounds kFirstToken = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                            1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
const Bounds kIterationTokens = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
const Bounds kHttpFine = {0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1,  1.5, 2,
                          2.5,  3,     3.5,  4,     4.5, 5,    7.5, 10,   30, 60};

Bounds decades_of_1_2_5(int64_t max) {
  Bounds bounds;
  for (int64_t power = 1; power <= max; power *= 10) {
    for (const int64_t step : {1, 2, 5}) {
      if (step * power <= max) bounds.push_back(static_cast<double>(step * power));
    }
  }
  return bounds;
}

// Methods that may become a label value; a client must not be able to make new series.
std::string known_method(std::string_view method) {
  for (const char* known : {"GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE", "PATCH"}) {
    if (method == known) return known;
  }
  return "OTHER";
}

bool is_instrumented(std::string_view handler) {
  if (handler.starts_with("/web/")) return false;
  for (const char* skipped : {"/metrics", "/health", "/load", "/ping", "/version", "/server_info"}) {
    if (handler == skipped) return false;
  }
  return true;
}

struct Sizes {
  uint64_t count = 0;
  double sum = 0;
};

}  // namespace

struct Metrics::Impl {
  explicit Impl(const ServerOptions& options)
      : engine_metrics(!options.disable_log_stats),
        labels{{"engine", "0"}, {"model_name", options.served_model_names.front()}} {
    http_fine = &histogram(http, "http_request_duration_highr_seconds",
                           "Latency with many buckets but no API specific labels.", {}, kHttpFine);
    add_engine_metrics(options.max_model_len);
  }

  static Histogram& histogram(prometheus::Registry& registry, const char* name, const char* help,
                              const Labels& labels, const Bounds& bounds) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(labels, bounds);
  }
  Histogram* histogram(const char* name, const char* help, const Bounds& bounds) {
    return &histogram(engine, name, help, labels, bounds);
  }
  Gauge* gauge(const char* name, const char* help) {
    return &prometheus::BuildGauge().Name(name).Help(help).Register(engine).Add(labels);
  }
  Counter* counter(const char* name, const char* help) {
    return &prometheus::BuildCounter().Name(name).Help(help).Register(engine).Add(labels);
  }

  void add_engine_metrics(int64_t max_model_len);

  const bool engine_metrics;
  const Labels labels;
  prometheus::Registry engine, http;
  const double created = exposition::unix_seconds();

  Gauge *running, *waiting, *kv_usage, *gpu_cache_usage;
  Counter *prefix_queries, *prefix_hits, *gpu_prefix_queries, *gpu_prefix_hits, *preemptions;
  Counter *prompt_tokens, *generation_tokens;
  std::map<engine::FinishReason, Counter*> success;
  Histogram *request_prompt_tokens, *request_generation_tokens, *iteration_tokens, *max_generation_tokens;
  Histogram *params_n, *params_max_tokens, *first_token, *inter_token, *time_per_output_token;
  Histogram* request_time_per_output_token;
  Histogram *e2e, *queue, *prefill, *decode, *inference;
  Histogram* http_fine;

  mutable std::mutex mutex;                                    // guards what follows
  std::map<std::string, Sizes> request_sizes, response_sizes;  // by handler
  engine::StepStats last;
  int64_t interval_prompt = 0, interval_generation = 0;
  bool last_interval_idle = true;
  engine::Clock::time_point interval_start = engine::Clock::now();
  std::deque<std::pair<int64_t, int64_t>> recent_lookups;  // (queries, hits) of recent steps
};

void Metrics::Impl::add_engine_metrics(int64_t max_model_len) {
  const Bounds tokens = decades_of_1_2_5(max_model_len);
  running = gauge("vllm:num_requests_running", "Number of requests in model execution batches.");
  waiting = gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.");
  kv_usage = gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.");
  gpu_cache_usage = gauge("vllm:gpu_cache_usage_perc", "Old name of vllm:kv_cache_usage_perc.");
  prefix_queries = counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.");
  prefix_hits = counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.");
  gpu_prefix_queries =
      counter("vllm:gpu_prefix_cache_queries_total", "Old name of vllm:prefix_cache_queries.");
  gpu_prefix_hits = counter("vllm:gpu_prefix_cache_hits_total", "Old name of vllm:prefix_cache_hits.");
  preemptions = counter("vllm:num_preemptions_total", "Preemptions since start.");
  prompt_tokens = counter("vllm:prompt_tokens_total", "Prompt tokens processed.");
  generation_tokens = counter("vllm:generation_tokens_total", "Tokens generated.");
  auto& finished = prometheus::BuildCounter()
                       .Name("vllm:request_success_total")
                       .Help("Finished requests by reason.")
                       .Register(engine);
  for (const auto& [reason, name] :
       {std::pair{engine::FinishReason::kStop, "stop"}, std::pair{engine::FinishReason::kLength, "length"},
        std::pair{engine::FinishReason::kAbort, "abort"}}) {
    Labels with_reason = labels;
    with_reason["finished_reason"] = name;
    success[reason] = &finished.Add(with_reason);
  }
  request_prompt_tokens =
      histogram("vllm:request_prompt_tokens", "Prompt length of finished requests.", tokens);
  request_generation_tokens =
      histogram("vllm:request_generation_tokens", "Output length of finished requests.", tokens);
  iteration_tokens = histogram("vllm:iteration_tokens_total", "Tokens of an engine step.", kIterationTokens);
  max_generation_tokens =
      histogram("vllm:request_max_num_generation_tokens", "Longest output among a request's n.", tokens);
  params_n = histogram("vllm:request_params_n", "The n of finished requests.", {1, 2, 5, 10, 20});
  params_max_tokens =
      histogram("vllm:request_params_max_tokens", "Effective max_tokens of finished requests.", tokens);
  first_token = histogram("vllm:time_to_first_token_seconds", "Arrival to first token.", kFirstToken);
  inter_token =
      histogram("vllm:inter_token_latency_seconds", "Time between tokens of a request.", kInterToken);
  time_per_output_token = histogram("vllm:time_per_output_token_seconds",
                                    "Old name of vllm:inter_token_latency_seconds.", kInterToken);
  request_time_per_output_token =
      histogram("vllm:request_time_per_output_token_seconds",
                "Decode time of a request per token after the first.", kInterToken);
  e2e = histogram("vllm:e2e_request_latency_seconds", "Arrival to finish.", kLatency);
  queue = histogram("vllm:request_queue_time_seconds", "Queued to first scheduled.", kLatency);
  prefill = histogram("vllm:request_prefill_time_seconds", "First scheduled to first token.", kLatency);
  decode = histogram("vllm:request_decode_time_seconds", "First to last token.", kLatency);
  inference = histogram("vllm:request_inference_time_seconds", "First scheduled to last token.", kLatency);
}

Metrics::Metrics(const ServerOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Metrics::~Metrics() = default;

void Metrics::on_step(const engine::StepStats& stats) {
  Impl& m = *impl_;
  m.running->Set(static_cast<double>(stats.running));
  m.waiting->Set(static_cast<double>(stats.waiting));
  m.kv_usage->Set(stats.kv_usage);
  m.gpu_cache_usage->Set(stats.kv_usage);
  for (Counter* counter : {m.prefix_queries, m.gpu_prefix_queries}) {
    counter->Increment(static_cast<double>(stats.prefix_queries));
  }
  for (Counter* counter : {m.prefix_hits, m.gpu_prefix_hits})
    counter->Increment(static_cast<double>(stats.prefix_hits));
  m.preemptions->Increment(static_cast<double>(stats.preemptions));
  m.prompt_tokens->Increment(static_cast<double>(stats.prompt_tokens));
  m.generation_tokens->Increment(static_cast<double>(stats.generation_tokens));
  m.iteration_tokens->Observe(static_cast<double>(stats.prompt_tokens + stats.generation_tokens));
  for (const double seconds : stats.time_to_first_token) m.first_token->Observe(seconds);
  for (const double seconds : stats.inter_token_latency) {
    m.inter_token->Observe(seconds);
    m.time_per_output_token->Observe(seconds);
  }
  for (const engine::FinishedRequest& done : stats.finished) {
    if (const auto found = m.success.find(done.reason); found != m.success.end()) found->second->Increment();
    // A request that its client gave up says nothing about latency.
    if (done.reason != engine::FinishReason::kStop && done.reason != engine::FinishReason::kLength) continue;
    m.request_prompt_tokens->Observe(static_cast<double>(done.prompt_tokens));
    m.request_generation_tokens->Observe(static_cast<double>(done.generation_tokens));
    m.params_max_tokens->Observe(static_cast<double>(done.max_tokens));
    m.e2e->Observe(done.e2e_seconds);
    m.queue->Observe(done.queue_seconds);
    m.prefill->Observe(done.prefill_seconds);
    m.decode->Observe(done.decode_seconds);
    m.inference->Observe(done.inference_seconds);
    if (done.generation_tokens > 1) {
      m.request_time_per_output_token->Observe(done.decode_seconds /
                                               static_cast<double>(done.generation_tokens - 1));
    }
  }
  const std::lock_guard lock(m.mutex);
  m.last.running = stats.running;
  m.last.waiting = stats.waiting;
  m.last.kv_usage = stats.kv_usage;
  m.interval_prompt += stats.prompt_tokens;
  m.interval_generation += stats.generation_tokens;
  if (stats.prefix_queries > 0) {
    m.recent_lookups.emplace_back(stats.prefix_queries, stats.prefix_hits);
    if (m.recent_lookups.size() > 1000) m.recent_lookups.pop_front();
  }
}

void Metrics::on_request_done(int n, int64_t longest_output) {
  impl_->params_n->Observe(n);
  impl_->max_generation_tokens->Observe(static_cast<double>(longest_output));
}

void Metrics::on_http(const HttpObservation& seen) {
  if (!is_instrumented(seen.handler)) return;
  Impl& m = *impl_;
  const std::string handler(seen.handler);
  const std::string method = known_method(seen.method);
  prometheus::BuildCounter()
      .Name("http_requests_total")
      .Help("Requests by method, status and handler.")
      .Register(m.http)
      .Add({{"handler", handler}, {"method", method}, {"status", std::to_string(seen.status / 100) + "xx"}})
      .Increment();
  Impl::histogram(m.http, "http_request_duration_seconds", "Latency with few buckets, by handler.",
                  {{"handler", handler}, {"method", method}}, {0.1, 0.5, 1})
      .Observe(seen.seconds);
  m.http_fine->Observe(seen.seconds);
  const std::lock_guard lock(m.mutex);
  Sizes& request = m.request_sizes[handler];
  Sizes& response = m.response_sizes[handler];
  ++request.count;
  ++response.count;
  request.sum += static_cast<double>(seen.request_bytes);
  response.sum += static_cast<double>(seen.response_bytes);
}

void Metrics::set_cache_config(const std::vector<std::pair<std::string, std::string>>& labels) {
  Labels all = {{"engine", "0"}};
  for (const auto& [name, value] : labels) all[name] = value;
  prometheus::BuildGauge()
      .Name("vllm:cache_config_info")
      .Help("Information of the LLMEngine CacheConfig")
      .Register(impl_->engine)
      .Add(all)
      .Set(1);
}

std::string Metrics::exposition() const {
  const Impl& m = *impl_;
  std::string out;
  exposition::append_process(out);
  if (m.engine_metrics) exposition::append_families(out, m.engine.Collect(), m.created);
  exposition::append_families(out, m.http.Collect(), m.created);
  const std::lock_guard lock(m.mutex);
  const auto append_sizes = [&](const char* name, const char* help,
                                const std::map<std::string, Sizes>& sizes) {
    if (sizes.empty()) return;
    exposition::append_header(out, name, help, "summary");
    for (const auto& [handler, size] : sizes) {
      const std::vector<prometheus::ClientMetric::Label> label = {{"handler", handler}};
      exposition::append_sample(out, std::string(name) + "_count", label, static_cast<double>(size.count));
      exposition::append_sample(out, std::string(name) + "_sum", label, size.sum);
    }
  };
  append_sizes("http_request_size_bytes", "Content length of requests by handler.", m.request_sizes);
  append_sizes("http_response_size_bytes", "Content length of responses by handler.", m.response_sizes);
  return out;
}

Metrics::StatsLine Metrics::take_stats_line() {
  Impl& m = *impl_;
  const std::lock_guard lock(m.mutex);
  const auto now = engine::Clock::now();
  const double seconds = std::max(1e-3, std::chrono::duration<double>(now - m.interval_start).count());
  int64_t queries = 0, hits = 0;
  for (const auto& [asked, found] : m.recent_lookups) {
    queries += asked;
    hits += found;
  }
  const double hit_rate =
      queries > 0 ? 100.0 * static_cast<double>(hits) / static_cast<double>(queries) : 0.0;
  char text[320];
  std::snprintf(
      text, sizeof text,
      "Engine 000: Avg prompt throughput: %.1f tokens/s, Avg generation throughput: %.1f tokens/s, "
      "Running: %lld reqs, Waiting: %lld reqs, GPU KV cache usage: %.1f%%, Prefix cache hit rate: %.1f%%",
      static_cast<double>(m.interval_prompt) / seconds, static_cast<double>(m.interval_generation) / seconds,
      static_cast<long long>(m.last.running), static_cast<long long>(m.last.waiting), 100.0 * m.last.kv_usage,
      hit_rate);
  const bool idle = m.interval_prompt == 0 && m.interval_generation == 0;
  StatsLine line{text, idle && m.last_interval_idle};
  m.last_interval_idle = idle;
  m.interval_prompt = m.interval_generation = 0;
  m.interval_start = now;
  return line;
}

}  // namespace outrider::server

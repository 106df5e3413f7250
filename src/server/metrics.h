// GET /metrics: the names that dashboards and routers written for vLLM read. Also the periodic line in the
// log.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "engine/engine.h"
#include "server/options.h"

namespace outrider::server {

struct HttpObservation {
  std::string_view handler;  // route template; "none" when unknown
  std::string_view method;
  int status = 200;
  double seconds = 0;
  size_t request_bytes = 0, response_bytes = 0;
};

class Metrics : public engine::StatsObserver {
 public:
  explicit Metrics(const ServerOptions& options);
  ~Metrics() override;

  // Engine thread.
  void on_step(const engine::StepStats& stats) override;

  // Any thread: a prompt's n choices have all ended.
  void on_request_done(int n, int64_t longest_output);
  // Any thread.
  void on_http(const HttpObservation& observation);
  // Any thread, before requests come: labels of vllm:cache_config_info.
  void set_cache_config(const std::vector<std::pair<std::string, std::string>>& labels);

  // Prometheus text format 0.0.4, labels sorted by name.
  std::string exposition() const;

  // The periodic line over the time since the last call; `quiet` when neither this nor the last interval had
  // tokens.
  struct StatsLine {
    std::string text;
    bool quiet = false;
  };
  StatsLine take_stats_line();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace outrider::server

// Sends requests on their schedule and gathers what became of them. One thread: all waiting is asynchronous.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/dataset.h"
#include "bench/outcome.h"
#include "client/http_client.h"
#include "config/bench_options.h"

namespace outrider::bench {

// When a ramp reached another whole number of requests a second.
struct RateChange {
  int64_t rate;
  std::string timestamp;  // ISO, local time
};

struct LoadResult {
  std::vector<Outcome> outcomes;  // in the order of the requests
  double duration = 0;            // seconds
  std::vector<RateChange> rate_changes;
};

class LoadGenerator {
 public:
  LoadGenerator(const config::BenchServeOptions& options, const net::Url& server);

  // True after the first Ctrl-C (SIGINT, SIGTERM), which ends whatever runs. The second one ends the program.
  bool interrupted() const { return interrupted_; }
  // True when requests were open and not a byte came for options.stall_timeout. It ends whatever runs, and
  // nothing more may be sent.
  bool stalled() const { return stalled_; }

  void set_model(const std::string& name) { model_ = name; }

  // Body of a GET that was answered by 200. Throws ExchangeError.
  std::string get(const std::string& path);
  // Sends one request by itself to `path`. An answer that is not complete by `deadline` is a failure, after
  // which nothing more may be sent.
  Outcome send_alone(const SampleRequest& request, const std::string& path,
                     Clock::time_point deadline = Clock::time_point::max());
  void sleep(double seconds);

  // `send_times`: seconds, one a request. `advance` is called when a request has ended.
  LoadResult run(const std::vector<SampleRequest>& requests, const std::vector<double>& send_times,
                 const std::function<void()>& advance);

 private:
  struct Stream;
  struct Run;

  client::Headers headers(const std::string& request_id) const;
  boost::asio::awaitable<void> send(const SampleRequest& request, std::string path, Outcome& outcome);
  boost::asio::awaitable<void> schedule(Run& run);
  void start_waiting(Run& run);
  void note_rate(Run& run, size_t index);
  void digest_some();
  void note_open();
  void watch_for_stall();
  void run_until(const std::function<bool()>& done);

  const config::BenchServeOptions& options_;
  const std::string base_path_;
  std::string model_;
  bool interrupted_ = false, stalled_ = false;
  int64_t num_open_ = 0;             // requests
  Clock::time_point last_progress_;  // bytes came, or the first open request was sent
  std::deque<std::shared_ptr<Stream>> undigested_;
  boost::asio::io_context io_;  // its coroutines, which end with it, look at nothing else any more
  boost::asio::steady_timer stall_timer_;
  std::unique_ptr<client::HttpClient> client_;
};

}  // namespace outrider::bench

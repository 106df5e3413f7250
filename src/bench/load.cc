#include "bench/load.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <limits>

#include "bench/request_body.h"
#include "bench/schedule.h"
#include "client/reply.h"

namespace outrider::bench {
namespace {

namespace asio = boost::asio;

constexpr size_t kErrorBodyBytes = 64 << 10;

// A connection a request: more than the usual thousand open files.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

std::string iso_time() {
  using std::chrono::system_clock;
  const auto now = system_clock::now();
  const std::time_t seconds = system_clock::to_time_t(now);
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() % 1000000;
  std::tm fields{};
  localtime_r(&seconds, &fields);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}", fields.tm_year + 1900, fields.tm_mon + 1,
                     fields.tm_mday, fields.tm_hour, fields.tm_min, fields.tm_sec, micros);
}

}  // namespace

// An answer on its way. Bytes are stamped when they are read and understood when there is time: the parsing
// of one stream must not make the next one look late.
struct LoadGenerator::Stream {
  Stream(Outcome& outcome, bool chat, Clock::time_point sent)
      : outcome(outcome), reader(outcome, chat, sent) {}

  void digest() {
    if (is_over) return;
    size_t begin = 0;
    for (const auto& [arrived, end] : pieces) {
      reader.push(std::string_view(bytes).substr(begin, end - begin), arrived);
      begin = end;
    }
    bytes.clear();
    pieces.clear();
    is_queued = false;
  }

  Outcome& outcome;
  AnswerReader reader;
  std::string bytes;
  std::vector<std::pair<Clock::time_point, size_t>> pieces;  // (arrived, end in `bytes`)
  std::string error_body;
  bool is_queued = false;
  bool is_over = false;
};

struct LoadGenerator::Run {
  const std::vector<SampleRequest>& requests;
  const std::vector<double>& send_times;
  const std::function<void()>& advance;
  size_t max_running;
  Clock::time_point start = Clock::now();
  Clock::time_point end = start;
  std::deque<size_t> waiting;  // their time has come
  size_t num_running = 0, num_ended = 0;
  LoadResult result;
};

LoadGenerator::LoadGenerator(const config::BenchServeOptions& options, const net::Url& server)
    : options_(options), base_path_(server.target), io_(/*concurrency_hint=*/1), stall_timer_(io_) {
  raise_file_limit();
  client_ = std::make_unique<client::HttpClient>(io_, server, options.insecure);
}

client::Headers LoadGenerator::headers(const std::string& request_id) const {
  client::Headers all;
  if (!options_.api_key.empty()) all.emplace_back("Authorization", "Bearer " + options_.api_key);
  if (!request_id.empty()) all.emplace_back("x-request-id", request_id);
  all.insert(all.end(), options_.headers.begin(), options_.headers.end());
  return all;
}

void LoadGenerator::note_open() {
  if (num_open_++ == 0) last_progress_ = Clock::now();
}

void LoadGenerator::watch_for_stall() {
  const std::chrono::seconds limit(options_.stall_timeout);
  if (num_open_ == 0) last_progress_ = Clock::now();
  stall_timer_.expires_at(last_progress_ + limit);
  stall_timer_.async_wait([this, limit](boost::system::error_code error) {
    if (error) return;
    if (num_open_ > 0 && Clock::now() >= last_progress_ + limit) {
      stalled_ = true;
    } else {
      watch_for_stall();
    }
  });
}

void LoadGenerator::run_until(const std::function<bool()>& done) {
  asio::signal_set signals(io_, SIGINT, SIGTERM);
  signals.async_wait([this](boost::system::error_code error, int) {
    if (!error) interrupted_ = true;
  });
  io_.restart();
  if (options_.stall_timeout > 0) watch_for_stall();
  while (!interrupted_ && !stalled_ && !done()) io_.run_one();
  stall_timer_.cancel();
}

void LoadGenerator::sleep(double seconds) {
  asio::steady_timer timer(
      io_, std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)));
  bool over = false;
  timer.async_wait([&over](boost::system::error_code error) { over = !error; });
  run_until([&] { return over; });
}

std::string LoadGenerator::get(const std::string& path) {
  const std::string request = client_->request_text("GET", base_path_ + path, headers(""), "");
  std::string body;
  std::exception_ptr failure;
  client::Answer answer;
  bool over = false;
  const client::HttpClient::BodySink sink = [&](const client::Answer&, std::string_view bytes,
                                                Clock::time_point) { body += bytes; };
  const auto exchange = [&]() -> asio::awaitable<void> {
    note_open();
    answer = co_await client_->exchange(request, sink);
  };
  asio::co_spawn(io_, exchange, [&](std::exception_ptr error) {
    failure = error;
    over = true;
    --num_open_;
  });
  run_until([&] { return over; });
  if (failure) std::rethrow_exception(failure);
  if (stalled_) throw client::ExchangeError("no answer", "GET " + path);
  if (answer.status != 200) {
    throw client::ExchangeError(fmt::format("HTTP {} {}", answer.status, answer.reason),
                                client::error_message(body));
  }
  return body;
}

Outcome LoadGenerator::send_alone(const SampleRequest& request, const std::string& path,
                                  Clock::time_point deadline) {
  Outcome outcome;
  SampleRequest anonymous = request;
  anonymous.request_id.clear();
  bool is_late = false;
  asio::steady_timer timer(io_, deadline);
  timer.async_wait([&is_late](boost::system::error_code error) { is_late = !error; });
  asio::co_spawn(io_, send(anonymous, path, outcome), asio::detached);
  run_until([&] { return outcome.finished || is_late; });
  if (!outcome.finished) outcome.fail("no answer in time");
  timer.cancel();
  io_.poll();  // the timer's handler, which looks at this frame
  return outcome;
}

asio::awaitable<void> LoadGenerator::send(const SampleRequest& request, std::string path, Outcome& outcome) {
  const std::string body = request_body(options_, model_, request);
  const std::string text =
      client_->request_text("POST", base_path_ + path, headers(request.request_id), body);
  const auto stream = std::make_shared<Stream>(outcome, options_.chat, Clock::now());
  note_open();
  const client::HttpClient::BodySink sink = [&](const client::Answer& answer, std::string_view bytes,
                                                Clock::time_point arrived) {
    last_progress_ = arrived;
    if (answer.status != 200) {
      stream->error_body +=
          bytes.substr(0, kErrorBodyBytes - std::min(kErrorBodyBytes, stream->error_body.size()));
      return;
    }
    stream->bytes += bytes;
    stream->pieces.emplace_back(arrived, stream->bytes.size());
    if (stream->is_queued) return;
    stream->is_queued = true;
    undigested_.push_back(stream);
    if (undigested_.size() == 1) asio::post(io_, [this] { digest_some(); });
  };
  try {
    const client::Answer answer = co_await client_->exchange(text, sink);
    stream->digest();
    if (answer.status == 200) {
      stream->reader.finish();
    } else {
      outcome.fail(fmt::format("HTTP {} {}", answer.status, answer.reason),
                   client::error_message(stream->error_body));
    }
  } catch (const client::ExchangeError& error) {
    stream->digest();
    outcome.fail(error.what(), error.details());
  }
  stream->is_over = true;
  outcome.finished = true;
  --num_open_;
}

void LoadGenerator::digest_some() {
  constexpr size_t kAtOnce = 8;  // then the sockets are looked at again
  for (size_t i = 0; i < kAtOnce && !undigested_.empty(); ++i) {
    undigested_.front()->digest();
    undigested_.pop_front();
  }
  if (!undigested_.empty()) asio::post(io_, [this] { digest_some(); });
}

void LoadGenerator::note_rate(Run& run, size_t index) {
  if (options_.traffic.ramp_up_strategy.empty()) return;
  std::vector<RateChange>& changes = run.result.rate_changes;
  const std::string now = iso_time();
  if (changes.empty()) changes.push_back({options_.traffic.ramp_up_start_rps, now});
  const auto rate = static_cast<int64_t>(request_rate(options_.traffic, index, run.requests.size()));
  while (changes.back().rate < rate) changes.push_back({changes.back().rate + 1, now});
}

asio::awaitable<void> LoadGenerator::schedule(Run& run) {
  asio::steady_timer timer(io_);
  for (size_t i = 0; i < run.requests.size(); ++i) {
    const auto due = run.start + std::chrono::duration_cast<Clock::duration>(
                                     std::chrono::duration<double>(run.send_times[i]));
    if (due > Clock::now()) {
      timer.expires_at(due);
      co_await timer.async_wait(asio::use_awaitable);
    }
    note_rate(run, i);
    run.waiting.push_back(i);
    start_waiting(run);
  }
}

void LoadGenerator::start_waiting(Run& run) {
  while (!run.waiting.empty() && run.num_running < run.max_running) {
    const size_t index = run.waiting.front();
    run.waiting.pop_front();
    ++run.num_running;
    asio::co_spawn(io_, send(run.requests[index], options_.endpoint, run.result.outcomes[index]),
                   [this, &run](std::exception_ptr failure) {
                     if (failure) std::rethrow_exception(failure);
                     --run.num_running;
                     ++run.num_ended;
                     run.end = Clock::now();
                     run.advance();
                     start_waiting(run);
                   });
  }
}

LoadResult LoadGenerator::run(const std::vector<SampleRequest>& requests,
                              const std::vector<double>& send_times, const std::function<void()>& advance) {
  const auto limit =
      static_cast<size_t>(options_.traffic.max_concurrency.value_or(std::numeric_limits<int64_t>::max()));
  Run run{.requests = requests, .send_times = send_times, .advance = advance, .max_running = limit};
  run.result.outcomes.resize(requests.size());
  run.start = run.end = Clock::now();
  asio::co_spawn(io_, schedule(run), asio::detached);
  run_until([&] { return run.num_ended == requests.size(); });
  if (interrupted_ || stalled_) run.end = Clock::now();
  run.result.duration = std::chrono::duration<double>(run.end - run.start).count();
  return std::move(run.result);
}

}  // namespace outrider::bench

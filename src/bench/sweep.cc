#include "bench/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>

#include "base/error.h"
#include "bench/interrupt.h"
#include "bench/load.h"
#include "bench/progress.h"
#include "bench/report.h"
#include "bench/schedule.h"
#include "bench/server_process.h"
#include "bench/sweep_plot.h"
#include "chat/python_json.h"

namespace outrider::bench {
namespace {

namespace fs = std::filesystem;

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// In one step: whoever reads the file sees the old text or the new one. Throws StartupError.
void write_text(const fs::path& path, const std::string& text) {
  const fs::path part = path.string() + ".part";
  std::ofstream file(part, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  std::error_code error;
  if (file) fs::rename(part, path, error);
  if (!file || error) throw StartupError("cannot write " + path.string());
}

// The server does not come up: its points are counted as failed, and the sweep goes on.
class ServerFailed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// It came up and is silent: the point is counted as failed, and the next one gets a new server.
class ServerSilent : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

void check_silence(const LoadGenerator& load, const config::BenchServeOptions& options) {
  if (!load.stalled()) return;
  throw ServerSilent(fmt::format("no byte came from the server for {} seconds", options.stall_timeout));
}

class Sweep {
 public:
  Sweep(const config::SweepOptions& options, const TokenizerLoader& load_tokenizer)
      : options_(options), load_tokenizer_(load_tokenizer), folder_(options.output_dir) {
    for (const int64_t tp : options.tensor_parallel_sizes) {
      for (const int64_t max_num_seqs : options.max_num_seqs) {
        if (options.concurrency.empty()) grid_.push_back({tp, max_num_seqs, max_num_seqs});
        for (const int64_t concurrency : options.concurrency)
          grid_.push_back({tp, max_num_seqs, concurrency});
      }
    }
    names_.date = date_text(std::time(nullptr));
    names_.device = "CPU";
  }

  int run() {
    prepare_folder();
    for (const std::string& warning : options_.client.warnings) {
      std::fprintf(stderr, "outrider: warning: %s\n", warning.c_str());
    }
    for (size_t i = 0; i < grid_.size() && !interrupted(); ++i) {
      if (find(grid_[i]) != nullptr) continue;
      say(fmt::format("[{}/{}] --tensor-parallel-size {} --max-num-seqs {}, {} requests at a time", i + 1,
                      grid_.size(), grid_[i].tensor_parallel_size, grid_[i].max_num_seqs,
                      grid_[i].concurrency));
      std::optional<SweepPoint> point = measure(grid_[i]);
      if (!point) break;
      say(point->ok() ? fmt::format("    {:.2f} output tokens/s per GPU, TPOT {:.2f} ms",
                                    point->throughput_per_gpu(), point->tpot_ms())
                      : "    failed: " + point->error);
      points_.push_back(*std::move(point));
      write_files();
    }
    if (server_) server_->stop(interrupted() ? 5 : 40);
    std::fputs(sweep_table(points_).c_str(), stdout);
    std::fflush(stdout);
    if (interrupted()) return kInterruptedExit;
    return find_scenarios(points_) ? 0 : 1;
  }

 private:
  bool interrupted() const { return load_interrupted_ || interrupt_.raised(); }

  // A load has the signals for itself while it runs.
  void note_interrupt(const LoadGenerator& load) {
    load_interrupted_ = load_interrupted_ || load.interrupted();
    interrupt_.arm();
  }

  const SweepPoint* find(const GridPoint& at) const {
    const auto found = std::ranges::find(points_, at, &SweepPoint::at);
    return found == points_.end() ? nullptr : &*found;
  }

  int64_t num_prompts(const GridPoint& at) const {
    constexpr int64_t kPerRequestAtATime = 5;  // the recipe's, for a steady state
    return options_.num_prompts.value_or(kPerRequestAtATime * at.concurrency);
  }

  // Creates it and finds out now what cannot be written. With --resume takes over the points it holds.
  void prepare_folder() {
    std::error_code error;
    fs::create_directories(folder_, error);
    if (error) {
      throw StartupError("argument --output-dir: cannot create " + folder_.string() + ": " + error.message());
    }
    const fs::path file = folder_ / "sweep.json";
    if (!fs::exists(file, error)) {
      write_text(folder_ / "sweep.csv", sweep_csv({}));
      return;
    }
    if (!options_.resume) {
      throw StartupError("argument --output-dir: " + file.string() +
                         " exists; --resume goes on with it, another folder leaves it alone");
    }
    const std::string text = read_text(file);
    points_ = read_points(text, options_.settings, file.string());
    std::erase_if(points_, [this](const SweepPoint& point) {
      return !point.ok() || std::ranges::find(grid_, point.at) == grid_.end() ||
             point.num_prompts != num_prompts(point.at);
    });
    const config::Json old = config::Json::parse(text);
    names_.model = old.value("model_id", "");
    names_.device = old.value("device", "CPU");
    say(fmt::format("{} of {} points are there already", points_.size(), grid_.size()));
    write_files();
  }

  void write_files() {
    std::ranges::stable_sort(points_, {}, [this](const SweepPoint& point) {
      return std::ranges::find(grid_, point.at) - grid_.begin();
    });
    write_text(folder_ / "sweep.csv", sweep_csv(points_));
    write_text(
        folder_ / "sweep.json",
        chat::python_json(sweep_json(names_, options_.settings, points_), 2, /*ensure_ascii=*/false) + "\n");
    if (find_scenarios(points_)) write_text(folder_ / "sweep.svg", sweep_svg(names_, points_));
  }

  // Nothing after Ctrl-C.
  std::optional<SweepPoint> measure(const GridPoint& at) {
    SweepPoint point{.at = at, .num_prompts = num_prompts(at), .figures = config::Json::object()};
    config::BenchServeOptions client = options_.client;
    client.dataset.num_prompts = point.num_prompts;
    client.traffic.max_concurrency = at.concurrency;
    try {
      if (failed_start_ && failed_start_->first == server_of(at)) throw ServerFailed(failed_start_->second);
      start_server(at, client);
      if (interrupted()) return std::nullopt;
      client.base_url = url();
      point.error = run_load(client, at, point.figures);
    } catch (const client::ExchangeError& error) {
      point.error = error.what();
    } catch (const ServerSilent& error) {
      point.error = error.what();
      server_.reset();
    } catch (const ServerFailed& error) {
      point.error = error.what();
      failed_start_.emplace(server_of(at), point.error);
      server_.reset();
    }
    if (interrupted()) return std::nullopt;
    // A server that dies closes its connections a moment before it has ended.
    constexpr double kMoment = 1;
    if (server_ && server_->ends_within(point.ok() ? 0 : kMoment)) {
      point.error = "the server " + server_->ending();
      server_.reset();
    }
    return point;
  }

  // What a server must have been started with to be measured at a point.
  static std::pair<int64_t, int64_t> server_of(const GridPoint& at) {
    return {at.tensor_parallel_size, at.max_num_seqs};
  }

  std::string url() const { return fmt::format("http://127.0.0.1:{}", port_); }

  std::string log_of(const GridPoint& at) const {
    return (folder_ / fmt::format("server-tp{}-seqs{}.log", at.tensor_parallel_size, at.max_num_seqs))
        .string();
  }

  // Does nothing where the server that runs has the right settings. Throws ServerFailed when it does not come
  // up.
  void start_server(const GridPoint& at, const config::BenchServeOptions& client) {
    if (server_ && server_->running() && running_ == server_of(at)) return;
    if (server_) server_->stop(40);
    server_.reset();
    port_ = options_.port.value_or(0);
    if (port_ == 0) port_ = free_port();
    if (!is_free(port_)) throw StartupError(fmt::format("argument --port: {} is taken", port_));
    server_.emplace(words(at), log_of(at));
    running_ = server_of(at);
    config::BenchServeOptions target = client;
    target.base_url = url();
    target.stall_timeout = target.ready_check_timeout;
    LoadGenerator load(target, client::parse_url(target.base_url, "--base-url"));
    wait_until_ready(load, target.ready_check_timeout);
    if (!interrupted()) model_ = ask_model(target, load);
    note_interrupt(load);
    if (interrupted()) return;
    if (names_.model.empty()) names_.model = model_;
    note_device(read_text(log_of(at)));
  }

  // Later words win: the user's own are between what is only a default and what the sweep sets.
  std::vector<std::string> words(const GridPoint& at) const {
    std::vector<std::string> words = {"serve"};
    if (!options_.client.model.empty()) words.push_back(options_.client.model);
    // The points of one server have the same prompts.
    words.emplace_back("--no-enable-prefix-caching");
    words.insert(words.end(), options_.serve_arguments.begin(), options_.serve_arguments.end());
    const std::pair<const char*, int64_t> numbers[] = {{"--port", port_},
                                                       {"--max-num-seqs", at.max_num_seqs},
                                                       {"--tensor-parallel-size", at.tensor_parallel_size}};
    words.insert(words.end(), {"--host", "127.0.0.1"});
    for (const auto& [name, value] : numbers) words.insert(words.end(), {name, std::to_string(value)});
    return words;
  }

  void wait_until_ready(LoadGenerator& load, int64_t seconds) {
    constexpr double kPause = 0.05;
    const auto deadline = Clock::now() + std::chrono::seconds(seconds);
    while (true) {
      if (!server_->running()) throw ServerFailed("the server " + server_->ending());
      try {
        load.get("/health");
        if (load.interrupted() || server_->running()) break;
      } catch (const client::ExchangeError& error) {
        if (load.stalled() || Clock::now() >= deadline) {
          server_->stop(5);
          throw ServerFailed(
              fmt::format("the server was not ready after {} seconds: {}", seconds, error.what()));
        }
      }
      load.sleep(kPause);
      if (load.interrupted()) break;
    }
    note_interrupt(load);
  }

  // The server names the GPU in its log.
  void note_device(const std::string& log) {
    constexpr std::string_view kBefore = "Serving on ";
    const size_t begin = log.find(kBefore);
    if (begin == std::string::npos) return;
    names_.device = log.substr(begin + kBefore.size(), log.find('\n', begin) - begin - kBefore.size());
  }

  // Returns what went wrong, if anything.
  std::string run_load(config::BenchServeOptions& client, const GridPoint& at, config::Json& figures) {
    LoadGenerator load(client, client::parse_url(client.base_url, "--base-url"));
    load.set_model(client.served_model_name.empty() ? model_ : client.served_model_name);
    if (!tokenizer_) tokenizer_ = load_tokenizer_(client.tokenizer.empty() ? model_ : client.tokenizer);
    Generators generators(client.dataset.seed);
    const auto requests = make_dataset(client.dataset, *tokenizer_, generators);
    const auto times = send_times(client.traffic, requests.size(), generators.numpy);
    const Outcome first = load.send_alone(requests[0], client.endpoint);
    note_interrupt(load);
    check_silence(load, client);
    if (interrupted() || !first.success) return first.error;
    for (int64_t i = 0; i < client.num_warmups && !interrupted(); ++i) {
      load.send_alone(requests[static_cast<size_t>(i) % requests.size()], client.endpoint);
      check_silence(load, client);
    }
    Progress progress(requests.size(), !client.disable_tqdm);
    const LoadResult result = load.run(requests, times, [&] { progress.advance(); });
    progress.close();
    note_interrupt(load);
    check_silence(load, client);
    const Metrics metrics =
        calculate_metrics(requests, result.outcomes, result.duration, *tokenizer_, client.report);
    if (metrics.completed > 0) figures = point_figures(at, metrics);
    if (metrics.failed == 0) return "";
    return fmt::format("{} of {} requests failed, of them {}: {}", metrics.failed, requests.size(),
                       metrics.failures.begin()->second, metrics.failures.begin()->first);
  }

  const config::SweepOptions& options_;
  const TokenizerLoader& load_tokenizer_;
  const fs::path folder_;
  std::vector<GridPoint> grid_;
  std::vector<SweepPoint> points_;  // in the grid's order
  SweepNames names_;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  std::string model_;  // what the server calls it
  int64_t port_ = 0;
  std::pair<int64_t, int64_t> running_;  // what the server was started with
  std::optional<std::pair<std::pair<int64_t, int64_t>, std::string>> failed_start_;  // and why
  std::optional<ServerProcess> server_;
  Interrupt interrupt_;
  bool load_interrupted_ = false;
};

}  // namespace

int run_sweep(const config::SweepOptions& options, const TokenizerLoader& load_tokenizer) {
  return Sweep(options, load_tokenizer).run();
}

}  // namespace outrider::bench

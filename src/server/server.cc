#include "server/server.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "server/connection_set.h"
#include "server/router.h"
#include "server/routes.h"

namespace outrider::server {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using Protocol = asio::generic::stream_protocol;
using Acceptor = asio::basic_socket_acceptor<Protocol>;

namespace {

// After the engine's death: how long /health answers 503, and then how long streams may take for their last
// event.
constexpr Seconds kFarewell{1};

class EngineAdapter : public EngineClient {
 public:
  explicit EngineAdapter(std::shared_ptr<engine::Engine> engine) : engine_(std::move(engine)) {}
  engine::RequestId submit(engine::Request request) override { return engine_->submit(std::move(request)); }
  void cancel(engine::RequestId id, bool as_stop) override { engine_->cancel(id, as_stop); }
  bool alive() const override { return engine_->alive(); }
  void reset_prefix_cache() override { engine_->reset_prefix_cache(); }

 private:
  std::shared_ptr<engine::Engine> engine_;
};

// Each connection is a descriptor, and 1024 is a common default.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

std::string peer_name(const Socket& socket) {
  error_code error;
  const Protocol::endpoint remote = socket.remote_endpoint(error);
  const int family = remote.protocol().family();
  if (error || (family != AF_INET && family != AF_INET6)) return "unix:0";
  tcp::endpoint endpoint;
  endpoint.resize(remote.size());
  std::memcpy(endpoint.data(), remote.data(), remote.size());
  return endpoint.address().to_string() + ":" + std::to_string(endpoint.port());
}

}  // namespace

struct Server::Impl {
  explicit Impl(ServerOptions given)
      : workers(2),
        connections(service.options.limits, workers, [this](HttpRequest request, ResponderPtr responder) {
          router.handle(std::move(request), std::move(responder));
        }) {
    service.options = std::move(given);
  }

  tcp::endpoint resolve();
  void open_acceptor(const Protocol::endpoint& endpoint, const std::string& name);
  void fill_cache_config(const engine::Engine& engine);
  void log_routes() const;
  void accept();
  void begin_drain(Seconds deadline);
  void watch_drain(engine::Clock::time_point deadline);
  void watch_engine();
  void watch_signals();
  void watch_certificates();
  void log_stats();
  void close_acceptor();
  void finish();
  void stop_threads();

  // Destruction runs from the bottom up: threads are stopped first, then the engine is let go (it may still
  // post), then the io_context and with it all connections, which take their leave of `connections`.
  Service service;
  Router router{service};
  asio::thread_pool workers;
  ConnectionSet connections;
  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(io);
  std::vector<std::thread> threads;

  // What follows is touched on `control` only, once threads run.
  asio::strand<asio::io_context::executor_type> control = asio::make_strand(io);
  std::string bound_uds;
  net::TlsContext tls;                // null: plain HTTP
  std::optional<TlsFiles> tls_files;  // --enable-ssl-refresh
  Acceptor acceptor{control};
  asio::signal_set signals{control};
  asio::steady_timer accept_timer{control}, drain_timer{control}, stats_timer{control}, engine_timer{control},
      tls_timer{control};
  bool draining = false;
  int status = 0;  // the process's exit code

  std::mutex mutex;
  std::condition_variable finished;
  std::optional<int> exit_code;  // guarded by mutex
};

Server::Server(ServerOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}

Server::~Server() {
  impl_->stop_threads();
  impl_->close_acceptor();
  impl_->service.grammars.reset();
  impl_->service.engine.reset();
}

ServerOptions& Server::options() { return impl_->service.options; }

engine::StatsObserver* Server::observer() {
  if (!impl_->service.metrics) impl_->service.metrics = std::make_shared<Metrics>(impl_->service.options);
  return impl_->service.metrics.get();
}

tcp::endpoint Server::Impl::resolve() {
  const ServerOptions& options = service.options;
  if (options.host.empty()) return {tcp::v4(), options.port};
  tcp::resolver resolver(io);
  error_code error;
  const auto found = resolver.resolve(options.host, std::to_string(options.port),
                                      tcp::resolver::passive | tcp::resolver::numeric_service, error);
  if (error || found.empty()) throw UsageError("--host " + options.host + ": " + error.message());
  return found.begin()->endpoint();
}

void Server::Impl::open_acceptor(const Protocol::endpoint& endpoint, const std::string& name) {
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  // Lets a restart take the port while old connections are in TIME_WAIT. SO_REUSEPORT stays off: a second
  // server on the same port must fail instead of taking half of the connections.
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (error) {
    throw StartupError("cannot listen on " + name + ": " + error.message() +
                       "; choose another address with --host, --port or --uds");
  }
}

void Server::bind() {
  raise_descriptor_limit();
  const ServerOptions& options = impl_->service.options;
  if (!options.tls.cert_file.empty()) impl_->tls = make_tls_context(options.tls);
  if (impl_->tls && options.tls.refresh) impl_->tls_files.emplace(options.tls);
  if (!options.uds.empty()) {
    ::unlink(options.uds.c_str());
    impl_->open_acceptor(asio::local::stream_protocol::endpoint(options.uds), options.uds);
    impl_->bound_uds = options.uds;
    return;
  }
  const tcp::endpoint endpoint = impl_->resolve();
  impl_->open_acceptor(endpoint, endpoint.address().to_string() + ":" + std::to_string(options.port));
}

uint16_t Server::port() const {
  error_code error;
  const Protocol::endpoint local = impl_->acceptor.local_endpoint(error);
  const int family = local.protocol().family();
  if (error || (family != AF_INET && family != AF_INET6)) return 0;
  tcp::endpoint endpoint;
  endpoint.resize(local.size());
  std::memcpy(endpoint.data(), local.data(), local.size());
  return endpoint.port();
}

void Server::Impl::fill_cache_config(const engine::Engine& engine) {
  const model::KvGeometry& kv = engine.kv();
  std::vector<std::pair<std::string, std::string>> labels = {
      {"block_size", std::to_string(kv.block_size)},
      {"num_gpu_blocks", std::to_string(kv.num_blocks)},
      {"enable_prefix_caching", engine.options().prefix_caching ? "True" : "False"},
  };
  for (const auto& label : service.options.cache_config) labels.push_back(label);
  service.metrics->set_cache_config(labels);
}

void Server::Impl::log_routes() const {
  if (!log::enabled(log::Level::kDebug)) return;
  std::string line = "Available routes are:";
  const char* separator = " ";
  for (const Route& route : all_routes()) {
    if (!is_served(route, service.options)) continue;
    line += std::string(separator) + route.path + " (" + route.methods + ")";
    separator = ", ";
  }
  log::debug(line);
}

void Server::start(std::shared_ptr<engine::Engine> engine,
                   std::shared_ptr<const tokenizer::Tokenizer> tokenizer,
                   std::unique_ptr<sampling::GrammarCompiler> grammars) {
  Impl& impl = *impl_;
  observer();
  impl.service.tokenizer = std::move(tokenizer);
  if (const auto seed = impl.service.options.seed) impl.service.seeds.start_from(*seed);
  impl.service.admission.set_limits(impl.service.options.max_queued_requests,
                                    impl.service.options.max_queued_tokens);
  impl.fill_cache_config(*engine);
  impl.service.engine = std::make_shared<EngineAdapter>(std::move(engine));
  impl.service.grammars = std::move(grammars);
  error_code error;
  impl.acceptor.listen(impl.service.options.backlog, error);
  if (error) throw StartupError("cannot listen: " + error.message());
  impl.log_routes();
  impl.watch_signals();
  impl.watch_engine();
  if (impl.tls_files) impl.watch_certificates();
  if (!impl.service.options.disable_log_stats) impl.log_stats();
  impl.accept();
  for (int i = 0; i < std::max(2, impl.service.options.io_threads); ++i) {
    impl.threads.emplace_back([&impl] { impl.io.run(); });
  }
}

void Server::Impl::accept() {
  acceptor.async_accept(asio::make_strand(io), [this](error_code error, Socket socket) {
    if (error == asio::error::operation_aborted || !acceptor.is_open()) return;
    if (error) {
      // Out of descriptors: trying again at once would spin.
      accept_timer.expires_after(std::chrono::milliseconds(100));
      accept_timer.async_wait([this](error_code stopped) {
        if (!stopped) accept();
      });
      return;
    }
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    std::string peer = peer_name(socket);
    connections.open(std::move(socket), tls, std::move(peer));
    accept();
  });
}

void Server::Impl::watch_signals() {
  signals.add(SIGINT);
  signals.add(SIGTERM);
  signals.async_wait([this](error_code error, int) {
    if (error) return;
    if (draining) return finish();
    begin_drain(service.options.drain_timeout);
    watch_signals();
  });
}

void Server::Impl::watch_engine() {
  engine_timer.expires_after(std::chrono::seconds(1));
  engine_timer.async_wait([this](error_code error) {
    if (error) return;
    if (service.engine->alive() || !service.options.exit_on_engine_death) return watch_engine();
    log::error("The engine has died; see above for the cause.");
    status = 1;
    engine_timer.expires_after(ticks(kFarewell));
    engine_timer.async_wait([this](error_code stopped) {
      if (!stopped) begin_drain(kFarewell);
    });
  });
}

// New connections get the new certificate; those that are open keep theirs.
void Server::Impl::watch_certificates() {
  tls_timer.expires_after(std::chrono::seconds(1));
  tls_timer.async_wait([this](error_code error) {
    if (error) return;
    if (tls_files->changed()) {
      try {
        tls = make_tls_context(service.options.tls);
        log::info("TLS certificates read again.");
      } catch (const StartupError& failure) {
        log::error(std::string("the old TLS certificates stay in use: ") + failure.what());
      }
    }
    watch_certificates();
  });
}

void Server::Impl::log_stats() {
  stats_timer.expires_after(ticks(service.options.stats_interval));
  stats_timer.async_wait([this](error_code error) {
    if (error) return;
    const Metrics::StatsLine line = service.metrics->take_stats_line();
    if (line.quiet) {
      log::debug(line.text);
    } else {
      log::info(line.text);
    }
    log_stats();
  });
}

void Server::Impl::begin_drain(Seconds deadline) {
  if (draining) return;
  draining = true;
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%g", deadline.count());
  log::info(std::string("Shutting down: what runs has ") + seconds +
            " s to end; another signal ends it at once.");
  close_acceptor();
  connections.drain();
  watch_drain(engine::Clock::now() + std::chrono::duration_cast<engine::Clock::duration>(deadline));
}

void Server::Impl::watch_drain(engine::Clock::time_point deadline) {
  if (connections.size() == 0 || engine::Clock::now() >= deadline) return finish();
  drain_timer.expires_after(std::chrono::milliseconds(20));
  drain_timer.async_wait([this, deadline](error_code error) {
    if (!error) watch_drain(deadline);
  });
}

void Server::Impl::close_acceptor() {
  error_code ignored;
  acceptor.close(ignored);
  // Now, not later: the path may soon be another server's.
  if (!bound_uds.empty()) ::unlink(std::exchange(bound_uds, {}).c_str());
}

void Server::Impl::finish() {
  connections.abort();
  const std::lock_guard lock(mutex);
  if (!exit_code) exit_code = status;
  finished.notify_all();
}

int Server::run() {
  std::unique_lock lock(impl_->mutex);
  impl_->finished.wait(lock, [&] { return impl_->exit_code.has_value(); });
  return *impl_->exit_code;
}

void Server::shutdown(Seconds deadline) {
  asio::post(impl_->control, [impl = impl_.get(), deadline] { impl->begin_drain(deadline); });
}

void Server::Impl::stop_threads() {
  workers.join();
  io.stop();
  for (std::thread& thread : threads) thread.join();
  threads.clear();
}

}  // namespace outrider::server

#include "server/connection.h"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <deque>
#include <optional>

#include "base/log.h"
#include "server/errors.h"
#include "server/response_text.h"

namespace outrider::server {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

namespace {

constexpr size_t kReadBytes = size_t{16} << 10;
constexpr size_t kReadAheadBytes = size_t{64} << 10;    // of a next request, while an answer is made
constexpr size_t kBodyWindowBytes = size_t{4} << 10;    // see Limits::read_timeout
constexpr size_t kWriteWindowBytes = size_t{64} << 10;  // see Limits::write_timeout
constexpr size_t kInlineBytes = size_t{32} << 10;       // bodies up to this are worked on in place
constexpr size_t kBuffersPerWrite = 16;
constexpr std::chrono::seconds kLinger{2};

}  // namespace

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Socket socket, TlsContext tls, std::string peer, ConnectionSet& set)
      : stream_(std::move(socket), std::move(tls)),
        read_timer_(stream_.get_executor()),
        write_timer_(stream_.get_executor()),
        set_(set),
        peer_(std::move(peer)) {}
  ~Connection() { set_.remove(this); }

  void start();
  void drain();
  void peer_gone();  // the socket is of no more use: closes it and tells the route

  const Socket::executor_type& executor() { return executor_; }
  ConnectionSet& set() { return set_; }

 private:
  friend class Exchange;
  enum class Phase { kIdle, kHeader, kBody, kAnswer, kLinger, kClosed };
  using Parser = beast::http::request_parser<beast::http::string_body>;

  void read();
  void on_read(error_code error, size_t bytes);
  void advance();
  bool parse();
  void on_header();
  void dispatch();
  void refuse(int status, std::string_view text);
  void set_phase(Phase phase, Clock::duration limit);
  void on_read_timeout();

  void queue(std::string bytes);
  void write();
  void on_written(error_code error, size_t bytes);
  void watch_writes();
  void end_answer(bool keep_alive);
  void linger();
  void end_tls();
  void close();

  Stream stream_;
  Socket::executor_type executor_ = stream_.get_executor();
  asio::steady_timer read_timer_, write_timer_;
  ConnectionSet& set_;
  const std::string peer_;

  Phase phase_ = Phase::kIdle;
  uint64_t phase_count_ = 0;  // tells a timer of an earlier phase from the present one
  std::vector<char> read_buffer_ = std::vector<char>(kReadBytes);
  beast::flat_buffer input_;  // received, not yet parsed
  std::optional<Parser> parser_;
  bool reading_ = false;
  size_t body_bytes_ = 0, body_mark_ = 0;  // received; at the start of the present window

  std::deque<std::string> output_;
  size_t output_bytes_ = 0, front_offset_ = 0, written_since_mark_ = 0;
  bool writing_ = false, watching_writes_ = false, close_after_writes_ = false;
  bool ending_tls_ = false;  // the last read is being given up
  Clock::time_point write_mark_;

  std::weak_ptr<class Exchange> exchange_;  // while an answer is made
};

// One request's Responder. Keeps its connection until the answer is complete; a route that drops it without
// an answer closes the connection.
class Exchange : public Responder, public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(const std::shared_ptr<Connection>& connection, bool keep_alive, int version, bool head_only)
      : connection_(connection),
        executor_(connection->executor()),
        set_(connection->set()),
        keep_alive_(keep_alive),
        version_(version),
        head_only_(head_only) {}

  ~Exchange() override {
    if (connection_)
      asio::post(executor_, [connection = std::move(connection_)] { connection->peer_gone(); });
  }

  void send(HttpResponse response) override {
    const auto connection = end();
    if (!connection) return;
    connection->queue(response_text(response, {version_, keep_alive_, false, head_only_}));
    connection->end_answer(keep_alive_);
  }

  void start_stream(HttpResponse head) override {
    const auto connection = connection_;
    if (!connection) return;
    chunked_ = version_ == 11;
    if (!chunked_) keep_alive_ = false;  // HTTP/1.0: the end of the connection is the end of the stream
    connection->queue(response_text(head, {version_, keep_alive_, true, head_only_}));
  }

  void write(std::string bytes) override {
    const auto connection = connection_;
    if (!connection || bytes.empty()) return;
    if (connection->output_bytes_ > connection->set_.limits.write_queue_bytes) {
      log::warning("closing " + connection->peer_ + ": it does not read its stream");
      connection->peer_gone();
      return;
    }
    connection->queue(chunked_ ? chunk_text(bytes) : std::move(bytes));
  }

  void finish() override {
    const auto connection = end();
    if (!connection) return;
    if (chunked_) connection->queue("0\r\n\r\n");
    connection->end_answer(keep_alive_);
  }

  void on_disconnect(std::function<void()> callback) override {
    if (gone_) {
      callback();
    } else if (connection_) {
      on_disconnect_ = std::move(callback);
    }
  }

  void post(std::function<void()> task) override { asio::post(executor_, std::move(task)); }

  void offload(size_t bytes, std::function<void()> work, std::function<void()> then) override {
    if (bytes <= kInlineBytes) {
      work();
      then();
      return;
    }
    asio::post(set_.workers,
               [executor = executor_, work = std::move(work), then = std::move(then)]() mutable {
                 work();
                 asio::post(executor, std::move(then));
               });
  }

  void peer_gone() {
    gone_ = true;
    connection_ = nullptr;
    if (const auto callback = std::exchange(on_disconnect_, nullptr)) callback();
  }

 private:
  std::shared_ptr<Connection> end() {
    on_disconnect_ = nullptr;
    return std::exchange(connection_, nullptr);
  }

  std::shared_ptr<Connection> connection_;  // null once the answer is complete or the peer is gone
  Socket::executor_type executor_;
  ConnectionSet& set_;
  bool keep_alive_;
  const int version_;
  const bool head_only_;
  bool chunked_ = false, gone_ = false;
  std::function<void()> on_disconnect_;
};

void Connection::start() {
  asio::post(executor_, [self = shared_from_this()] {
    self->parser_.emplace();
    // A fresh connection may wait as long for its first byte as for a header.
    self->set_phase(Phase::kIdle, ticks(self->set_.limits.header_timeout));
    if (!self->stream_.is_tls()) return self->advance();
    self->stream_.async_handshake([self](error_code error) {
      if (self->phase_ == Phase::kClosed) return;
      if (!error) return self->advance();
      log::debug("no TLS with " + self->peer_ + ": " + error.message());
      self->close();
    });
  });
}

void Connection::drain() {
  asio::post(executor_, [self = shared_from_this()] {
    if (self->phase_ == Phase::kIdle) self->close();
  });
}

void Connection::set_phase(Phase phase, Clock::duration limit) {
  phase_ = phase;
  const uint64_t count = ++phase_count_;
  if (limit == Clock::duration::zero()) return;  // a pending timer finds a later count and does nothing
  read_timer_.expires_after(limit);
  read_timer_.async_wait([weak = weak_from_this(), count](error_code error) {
    const auto self = weak.lock();
    if (self && !error && count == self->phase_count_) self->on_read_timeout();
  });
}

void Connection::on_read_timeout() {
  if (phase_ == Phase::kIdle || phase_ == Phase::kLinger) return close();
  if (phase_ == Phase::kBody && body_bytes_ - body_mark_ >= kBodyWindowBytes) {
    body_mark_ = body_bytes_;
    return set_phase(Phase::kBody, ticks(set_.limits.read_timeout));
  }
  refuse(408, "The request took too long to arrive.");
}

void Connection::read() {
  if (reading_ || phase_ == Phase::kClosed) return;
  reading_ = true;
  stream_.async_read_some(
      asio::buffer(read_buffer_),
      [self = shared_from_this()](error_code error, size_t count) { self->on_read(error, count); });
}

void Connection::on_read(error_code error, size_t bytes) {
  reading_ = false;
  if (phase_ == Phase::kClosed) return;
  if (ending_tls_) return end_tls();
  if (error) return peer_gone();
  if (phase_ == Phase::kLinger) return read();
  input_.commit(asio::buffer_copy(input_.prepare(bytes), asio::buffer(read_buffer_.data(), bytes)));
  if (phase_ == Phase::kBody) body_bytes_ += bytes;
  advance();
}

// Parses what has come, as far as it may be parsed now, and asks for more.
void Connection::advance() {
  while (phase_ != Phase::kAnswer && phase_ != Phase::kLinger && phase_ != Phase::kClosed &&
         input_.size() > 0) {
    if (phase_ == Phase::kIdle) set_phase(Phase::kHeader, ticks(set_.limits.header_timeout));
    if (!parse()) break;
  }
  if (phase_ != Phase::kAnswer || input_.size() < kReadAheadBytes) read();
}

// False: more bytes are needed, or the request was refused.
bool Connection::parse() {
  if (!parser_->is_header_done()) {
    parser_->eager(true);
    parser_->header_limit(static_cast<uint32_t>(set_.limits.header_bytes));
    parser_->body_limit(set_.limits.body_bytes);
  }
  error_code error;
  const bool had_header = parser_->is_header_done();
  input_.consume(parser_->put(input_.data(), error));
  if (error && error != beast::http::error::need_more) {
    if (error == beast::http::error::body_limit) {
      refuse(413, "The request body is larger than " + std::to_string(set_.limits.body_bytes) + " bytes.");
    } else if (error == beast::http::error::header_limit) {
      refuse(431,
             "The request header is larger than " + std::to_string(set_.limits.header_bytes) + " bytes.");
    } else {
      refuse(400, "Invalid HTTP request received.");
    }
    return false;
  }
  if (!had_header && parser_->is_header_done()) on_header();
  if (phase_ == Phase::kLinger) return false;
  if (parser_->is_done()) {
    dispatch();
    return true;
  }
  return !error && input_.size() > 0;
}

void Connection::on_header() {
  const auto& message = parser_->get();
  const auto count = std::distance(message.begin(), message.end());
  if (count > set_.limits.header_count) return refuse(431, "The request has too many header fields.");
  body_bytes_ = body_mark_ = 0;
  set_phase(Phase::kBody, ticks(set_.limits.read_timeout));
  if (!parser_->is_done() && beast::iequals(message[beast::http::field::expect], "100-continue")) {
    queue("HTTP/1.1 100 Continue\r\n\r\n");
  }
}

void Connection::dispatch() {
  auto message = parser_->release();
  HttpRequest request;
  request.method = std::string(message.method_string());
  request.target = std::string(message.target());
  request.version = message.version() == 10 ? 10 : 11;
  request.peer = peer_;
  request.body = std::move(message.body());
  for (const auto& field : message) {
    std::string name(field.name_string());
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    request.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  const bool keep_alive = message.keep_alive() && !set_.draining_;
  set_phase(Phase::kAnswer, Clock::duration::zero());
  const auto exchange =
      std::make_shared<Exchange>(shared_from_this(), keep_alive, request.version, request.method == "HEAD");
  exchange_ = exchange;
  set_.handle(std::move(request), exchange);
}

// The connection's own refusals: no route has seen the request, so none of its bytes can be skipped safely.
void Connection::refuse(int status, std::string_view text) {
  set_phase(Phase::kAnswer, Clock::duration::zero());
  queue(response_text(error_response(status, "Bad Request", text), {11, false, false, false}));
  end_answer(false);
}

void Connection::queue(std::string bytes) {
  if (phase_ == Phase::kClosed) return;
  if (output_.empty()) {
    write_mark_ = Clock::now();
    written_since_mark_ = 0;
  }
  output_bytes_ += bytes.size();
  output_.push_back(std::move(bytes));
  write();
}

void Connection::write() {
  if (writing_ || output_.empty() || phase_ == Phase::kClosed) return;
  writing_ = true;
  watch_writes();
  std::vector<asio::const_buffer> buffers;
  for (size_t i = 0; i < output_.size() && i < kBuffersPerWrite; ++i) {
    const size_t skip = i == 0 ? front_offset_ : 0;
    buffers.emplace_back(output_[i].data() + skip, output_[i].size() - skip);
  }
  stream_.async_write_some(buffers, [self = shared_from_this()](error_code error, size_t bytes) {
    self->on_written(error, bytes);
  });
}

void Connection::on_written(error_code error, size_t bytes) {
  writing_ = false;
  if (phase_ == Phase::kClosed) return;
  if (error) return peer_gone();
  output_bytes_ -= bytes;
  written_since_mark_ += bytes;
  if (written_since_mark_ >= kWriteWindowBytes) {
    write_mark_ = Clock::now();
    written_since_mark_ = 0;
  }
  bytes += front_offset_;
  while (!output_.empty() && bytes >= output_.front().size()) {
    bytes -= output_.front().size();
    output_.pop_front();
  }
  front_offset_ = bytes;
  if (output_.empty() && close_after_writes_) return linger();
  write();
}

// One timer for many writes: it is not moved with each, but looks at the mark when it fires.
void Connection::watch_writes() {
  if (watching_writes_) return;
  watching_writes_ = true;
  write_timer_.expires_at(write_mark_ + ticks(set_.limits.write_timeout));
  write_timer_.async_wait([weak = weak_from_this()](error_code error) {
    const auto self = weak.lock();
    if (!self || error) return;
    self->watching_writes_ = false;
    if (self->output_.empty()) return;
    if (Clock::now() - self->write_mark_ >= ticks(self->set_.limits.write_timeout)) {
      log::warning("closing " + self->peer_ + ": it does not read its answer");
      self->peer_gone();
    } else {
      self->watch_writes();
    }
  });
}

void Connection::end_answer(bool keep_alive) {
  exchange_.reset();
  if (phase_ == Phase::kClosed) return;
  if (!keep_alive || set_.draining_) {
    close_after_writes_ = true;
    set_phase(Phase::kLinger, Clock::duration::zero());
    if (output_.empty()) linger();
    return;
  }
  parser_.reset();
  parser_.emplace();
  set_phase(Phase::kIdle, ticks(set_.limits.keep_alive));
  // Not from within the route that has just answered: a next request may already be here.
  asio::post(executor_, [self = shared_from_this()] { self->advance(); });
}

// Closing while the client still sends would reset the connection and take the answer with it.
void Connection::linger() {
  error_code ignored;
  set_phase(Phase::kLinger, kLinger);
  if (stream_.is_tls()) {
    ending_tls_ = true;
    if (!reading_) return end_tls();
    stream_.socket().cancel(ignored);
    return;
  }
  stream_.socket().shutdown(Socket::shutdown_send, ignored);
  read();
}

void Connection::end_tls() {
  stream_.async_shutdown([self = shared_from_this()](error_code) { self->close(); });
}

void Connection::peer_gone() {
  close();
  if (const auto exchange = exchange_.lock()) exchange->peer_gone();
  exchange_.reset();
}

void Connection::close() {
  if (phase_ == Phase::kClosed) return;
  set_phase(Phase::kClosed, Clock::duration::zero());
  read_timer_.cancel();
  write_timer_.cancel();
  error_code ignored;
  stream_.socket().close(ignored);
}

void ConnectionSet::open(Socket socket, TlsContext tls, std::string peer) {
  const auto connection =
      std::make_shared<Connection>(std::move(socket), std::move(tls), std::move(peer), *this);
  {
    const std::lock_guard lock(mutex_);
    if (connections_.size() >= static_cast<size_t>(limits.connections)) return;  // closes it
    connections_.insert(connection.get());
  }
  connection->start();
}

void ConnectionSet::remove(Connection* connection) {
  const std::lock_guard lock(mutex_);
  connections_.erase(connection);
}

size_t ConnectionSet::size() const {
  const std::lock_guard lock(mutex_);
  return connections_.size();
}

void ConnectionSet::for_each(const std::function<void(const std::shared_ptr<Connection>&)>& action) {
  std::vector<std::shared_ptr<Connection>> all;
  {
    const std::lock_guard lock(mutex_);
    for (Connection* connection : connections_) {
      if (auto alive = connection->weak_from_this().lock()) all.push_back(std::move(alive));
    }
  }
  for (const auto& connection : all) action(connection);
}

void ConnectionSet::drain() {
  draining_ = true;
  for_each([](const auto& connection) { connection->drain(); });
}

void ConnectionSet::abort() {
  draining_ = true;
  for_each([](const auto& connection) {
    asio::post(connection->executor(), [connection] { connection->peer_gone(); });
  });
}

}  // namespace outrider::server

#include "server/connection.h"

#include <boost/asio/post.hpp>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "server/errors.h"
#include "server/exchange.h"
#include "server/response_text.h"

namespace outrider::server {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

namespace {

constexpr size_t kReadAheadBytes = size_t{64} << 10;    // of a next request, while an answer is made
constexpr size_t kBodyWindowBytes = size_t{4} << 10;    // see Limits::read_timeout
constexpr size_t kWriteWindowBytes = size_t{64} << 10;  // see Limits::write_timeout
constexpr size_t kBuffersPerWrite = 16;
constexpr std::chrono::seconds kLinger{2};

}  // namespace

void Connection::start() {
  asio::post(executor_, [self = shared_from_this()] {
    self->parser_.emplace();
    // A fresh connection may wait as long for its first byte as for a header.
    self->set_phase(Phase::kIdle, ticks(self->set_.limits.header_timeout));
    if (!self->stream_.is_tls()) return self->advance();
    self->stream_.async_handshake(asio::ssl::stream_base::server, [self](error_code error) {
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
    request.headers.emplace_back(lower_case(field.name_string()), std::string(field.value()));
  }
  const bool keep_alive = message.keep_alive() && !set_.draining();
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
      self->cut_off("it does not read its answer");
    } else {
      self->watch_writes();
    }
  });
}

void Connection::end_answer(bool keep_alive) {
  exchange_.reset();
  if (phase_ == Phase::kClosed) return;
  if (!keep_alive || set_.draining()) {
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

void Connection::cut_off(const char* why) {
  log::warning("closing " + peer_ + ": " + why);
  peer_gone();
}

void Connection::close() {
  if (phase_ == Phase::kClosed) return;
  set_phase(Phase::kClosed, Clock::duration::zero());
  read_timer_.cancel();
  write_timer_.cancel();
  error_code ignored;
  stream_.socket().close(ignored);
}

}  // namespace outrider::server

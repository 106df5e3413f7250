// One client's HTTP/1.1 connection: requests in, answers out, limits on time and size.
//
// A read is always outstanding while the socket is open, also while an answer is made: so a peer that goes
// away is noticed at once, whatever the route does. All members run on the connection's strand.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/connection_set.h"

namespace outrider::server {

class Exchange;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Socket socket, net::TlsContext tls, std::string peer, ConnectionSet& set)
      : stream_(std::move(socket), std::move(tls)),
        read_timer_(stream_.get_executor()),
        write_timer_(stream_.get_executor()),
        set_(set),
        peer_(std::move(peer)) {}
  ~Connection() { set_.remove(this); }

  void start();
  void drain();
  void peer_gone();  // the socket is of no more use: closes it and tells the route

  // For the answer to the present request.
  void queue(std::string bytes);
  void end_answer(bool keep_alive);
  bool is_full() const { return output_bytes_ > set_.limits.write_queue_bytes; }
  void cut_off(const char* why);

  const Socket::executor_type& executor() { return executor_; }
  ConnectionSet& set() { return set_; }

 private:
  enum class Phase { kIdle, kHeader, kBody, kAnswer, kLinger, kClosed };
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  void read();
  void on_read(boost::system::error_code error, size_t bytes);
  void advance();
  bool parse();
  void on_header();
  void dispatch();
  void refuse(int status, std::string_view text);
  void set_phase(Phase phase, std::chrono::steady_clock::duration limit);
  void on_read_timeout();

  void write();
  void on_written(boost::system::error_code error, size_t bytes);
  void watch_writes();
  void linger();
  void end_tls();
  void close();

  net::Stream<Socket> stream_;
  Socket::executor_type executor_ = stream_.get_executor();
  boost::asio::steady_timer read_timer_, write_timer_;
  ConnectionSet& set_;
  const std::string peer_;

  Phase phase_ = Phase::kIdle;
  uint64_t phase_count_ = 0;  // tells a timer of an earlier phase from the present one
  std::vector<char> read_buffer_ = std::vector<char>(16 << 10);
  boost::beast::flat_buffer input_;  // received, not yet parsed
  std::optional<Parser> parser_;
  bool reading_ = false;
  size_t body_bytes_ = 0, body_mark_ = 0;  // received; at the start of the present window

  std::deque<std::string> output_;
  size_t output_bytes_ = 0, front_offset_ = 0, written_since_mark_ = 0;
  bool writing_ = false, watching_writes_ = false, close_after_writes_ = false;
  bool ending_tls_ = false;  // the last read is being given up
  std::chrono::steady_clock::time_point write_mark_;

  std::weak_ptr<Exchange> exchange_;  // while an answer is made
};

}  // namespace outrider::server

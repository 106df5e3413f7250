// An HTTP/1.1 client for streamed answers: one server, kept-alive connections, one thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/tls.h"
#include "net/url.h"

namespace outrider::client {

// A server's http:// or https:// address; its target stands before every path and is "" or "/...". Throws
// UsageError that names `option`.
net::Url parse_url(const std::string& text, const std::string& option);

struct Answer {
  unsigned status = 0;
  std::string reason;
};

// The connection or what came over it failed. what() is the kind: short, without addresses and times.
class ExchangeError : public std::runtime_error {
 public:
  ExchangeError(const std::string& kind, std::string details)
      : std::runtime_error(kind), details_(std::move(details)) {}
  const std::string& details() const { return details_; }

 private:
  std::string details_;
};

using Headers = std::vector<std::pair<std::string, std::string>>;

class HttpClient {
 public:
  using Clock = std::chrono::steady_clock;
  // Some bytes of a body and when they were read. `answer` is whole but for the body.
  using BodySink =
      std::function<void(const Answer& answer, std::string_view bytes, Clock::time_point arrived)>;

  // `insecure`: certificates are not checked.
  HttpClient(boost::asio::io_context& io, const net::Url& server, bool insecure);
  ~HttpClient();

  // The text of a request, ready to be sent. `path` is the whole target. Later headers of the same name win.
  std::string request_text(const std::string& method, const std::string& path, const Headers& headers,
                           const std::string& body) const;

  // Sends `request` and reads the answer to its end. Throws ExchangeError. A kept connection that proves
  // closed before a byte of the answer is replaced by a new one.
  boost::asio::awaitable<Answer> exchange(const std::string& request, const BodySink& sink);

 private:
  class Connection;
  using ConnectionPtr = std::unique_ptr<Connection>;

  boost::asio::awaitable<ConnectionPtr> connect();
  ConnectionPtr take_idle();

  boost::asio::io_context& io_;
  const net::Url server_;
  const net::TlsContext tls_;                              // null: plain HTTP
  std::vector<boost::asio::ip::tcp::endpoint> addresses_;  // once resolved
  std::vector<ConnectionPtr> idle_;                        // the last used at the back
};

}  // namespace outrider::client

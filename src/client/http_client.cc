#include "client/http_client.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>
#include <optional>

#include "base/error.h"

namespace outrider::client {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using boost::system::system_error;

constexpr size_t kReadBytes = 16 << 10;
constexpr size_t kMaxHeaderBytes = 64 << 10;
constexpr uint64_t kMaxBodyBytes = uint64_t{256} << 20;
constexpr std::chrono::seconds kKeepAlive{60};

std::string kind_of(const error_code& error) {
  if (error == asio::error::connection_refused) return "connection refused";
  if (error == asio::error::connection_reset || error == asio::error::broken_pipe) return "connection reset";
  if (error == asio::error::eof || error == http::error::partial_message ||
      error == http::error::end_of_stream || error == asio::ssl::error::stream_truncated) {
    return "connection closed before the answer was complete";
  }
  if (error.category() == http::make_error_code(http::error::bad_version).category())
    return "answer is not HTTP";
  if (error.category() == asio::error::get_ssl_category()) return "TLS failed";
  return error.message();
}

[[noreturn]] void fail(const error_code& error) { throw ExchangeError(kind_of(error), error.message()); }

bool same_name(const std::string& a, const std::string& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

Url parse_url(const std::string& text, const std::string& option) {
  Url url;
  std::string rest;
  if (text.starts_with("http://")) {
    rest = text.substr(7);
  } else if (text.starts_with("https://")) {
    rest = text.substr(8);
    url.tls = true;
  } else {
    throw UsageError("argument " + option + ": " + text + " begins neither with http:// nor https://");
  }
  const size_t slash = std::min(rest.find('/'), rest.size());
  url.path = rest.substr(slash);
  const std::string authority = rest.substr(0, slash);
  const size_t bracket = authority.find(']');
  const size_t colon = authority.find(':', bracket == std::string::npos ? 0 : bracket);
  url.host = authority.substr(0, colon);
  if (bracket != std::string::npos && url.host.front() == '[') url.host = authority.substr(1, bracket - 1);
  url.port = colon == std::string::npos ? (url.tls ? "443" : "80") : authority.substr(colon + 1);
  const bool digits = !url.port.empty() && std::all_of(url.port.begin(), url.port.end(),
                                                       [](unsigned char c) { return std::isdigit(c) != 0; });
  const bool clean =
      std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c != 0x7f; });
  if (url.host.empty() || !digits || !clean || authority.find('@') != std::string::npos) {
    throw UsageError("argument " + option + ": " + text + " is no address of a server");
  }
  return url;
}

class HttpClient::Connection {
 public:
  Connection(asio::io_context& io, const Url& server, asio::ssl::context& context) : socket_(io) {
    if (server.tls) tls_.emplace(socket_, context);
  }

  asio::awaitable<void> open(const Url& server, const std::vector<tcp::endpoint>& addresses) {
    co_await asio::async_connect(socket_, addresses, asio::use_awaitable);
    socket_.set_option(tcp::no_delay(true));
    if (!tls_) co_return;
    SSL_set_tlsext_host_name(tls_->native_handle(), server.host.c_str());
    tls_->set_verify_callback(asio::ssl::host_name_verification(server.host));
    co_await tls_->async_handshake(asio::ssl::stream_base::client, asio::use_awaitable);
  }

  asio::awaitable<void> write(const std::string& text) {
    if (tls_) {
      co_await asio::async_write(*tls_, asio::buffer(text), asio::use_awaitable);
    } else {
      co_await asio::async_write(socket_, asio::buffer(text), asio::use_awaitable);
    }
  }

  // 0 at the end of the stream.
  asio::awaitable<size_t> read(asio::mutable_buffer space) {
    error_code error;
    size_t count = 0;
    if (tls_) {
      count = co_await tls_->async_read_some(space, asio::redirect_error(asio::use_awaitable, error));
    } else {
      count = co_await socket_.async_read_some(space, asio::redirect_error(asio::use_awaitable, error));
    }
    if (error == asio::error::eof) co_return 0;
    if (error) throw system_error(error);
    co_return count;
  }

  // Sends `request` and reads its answer. `started`: a byte of the answer has come. True when another request
  // may follow. Throws system_error.
  asio::awaitable<bool> exchange(const std::string& request, const BodySink& sink, Answer& answer,
                                 bool& started) {
    co_await write(request);
    http::response_parser<http::string_body> parser;
    parser.eager(true);
    parser.header_limit(kMaxHeaderBytes);
    parser.body_limit(kMaxBodyBytes);
    boost::beast::flat_buffer buffer;
    while (!parser.is_done()) {
      const size_t count = co_await read(buffer.prepare(kReadBytes));
      const Clock::time_point now = Clock::now();
      error_code error;
      if (count == 0) {
        if (!started) throw system_error(asio::error::eof);
        parser.put_eof(error);
        if (error) throw system_error(error);
        break;
      }
      started = true;
      buffer.commit(count);
      while (buffer.size() > 0 && !parser.is_done() && !error) {
        buffer.consume(parser.put(buffer.data(), error));
      }
      if (error && error != http::error::need_more) throw system_error(error);
      hand_on(parser, answer, sink, now);
    }
    last_used = Clock::now();
    co_return parser.get().keep_alive() && buffer.size() == 0;
  }

  Clock::time_point last_used;

 private:
  static void hand_on(http::response_parser<http::string_body>& parser, Answer& answer, const BodySink& sink,
                      Clock::time_point now) {
    if (!parser.is_header_done()) return;
    if (answer.status == 0) {
      answer.status = parser.get().result_int();
      answer.reason = std::string(parser.get().reason());
    }
    std::string& body = parser.get().body();
    if (!body.empty()) sink(answer, body, now);
    body.clear();
  }

  tcp::socket socket_;
  std::optional<asio::ssl::stream<tcp::socket&>> tls_;
};

HttpClient::HttpClient(asio::io_context& io, const Url& server, bool insecure)
    : io_(io), server_(server), tls_(asio::ssl::context::tls_client) {
  if (!server.tls) return;
  tls_.set_default_verify_paths();
  tls_.set_verify_mode(insecure ? asio::ssl::verify_none : asio::ssl::verify_peer);
}

HttpClient::~HttpClient() = default;

std::string HttpClient::request_text(const std::string& method, const std::string& path,
                                     const Headers& headers, const std::string& body) const {
  const std::string host =
      server_.host.find(':') == std::string::npos ? server_.host : "[" + server_.host + "]";
  Headers all = {{"Host", host + ":" + server_.port}, {"Accept", "*/*"}};
  if (!body.empty()) {
    all.emplace_back("Content-Type", "application/json");
    all.emplace_back("Content-Length", std::to_string(body.size()));
  }
  for (const auto& header : headers) {
    std::erase_if(all, [&](const auto& other) { return same_name(other.first, header.first); });
    all.push_back(header);
  }
  std::string text = method + " " + path + " HTTP/1.1\r\n";
  for (const auto& [name, value] : all) text += name + ": " + value + "\r\n";
  return text + "\r\n" + body;
}

HttpClient::ConnectionPtr HttpClient::take_idle() {
  const auto oldest = Clock::now() - kKeepAlive;
  std::erase_if(idle_, [&](const ConnectionPtr& connection) { return connection->last_used < oldest; });
  if (idle_.empty()) return nullptr;
  ConnectionPtr connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

asio::awaitable<HttpClient::ConnectionPtr> HttpClient::connect() {
  if (addresses_.empty()) {
    tcp::resolver resolver(io_);
    const auto found = co_await resolver.async_resolve(server_.host, server_.port, asio::use_awaitable);
    addresses_.assign(found.begin(), found.end());
  }
  auto connection = std::make_unique<Connection>(io_, server_, tls_);
  co_await connection->open(server_, addresses_);
  co_return connection;
}

asio::awaitable<Answer> HttpClient::exchange(const std::string& request, const BodySink& sink) {
  ConnectionPtr connection = take_idle();
  const bool is_kept = connection != nullptr;
  Answer answer;
  bool started = false;
  error_code failure;
  try {
    if (!is_kept) connection = co_await connect();
    const bool reusable = co_await connection->exchange(request, sink, answer, started);
    if (reusable) idle_.push_back(std::move(connection));
  } catch (const system_error& error) {
    failure = error.code();
  }
  if (!failure) co_return answer;
  if (!is_kept || started) fail(failure);
  connection.reset();
  try {
    connection = co_await connect();
    const bool reusable = co_await connection->exchange(request, sink, answer, started);
    if (reusable) idle_.push_back(std::move(connection));
  } catch (const system_error& error) {
    fail(error.code());
  }
  co_return answer;
}

}  // namespace outrider::client

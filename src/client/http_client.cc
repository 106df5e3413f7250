#include "client/http_client.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "net/failure.h"
#include "net/stream.h"

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
  if (error.category() == asio::error::get_ssl_category()) return "TLS failed";
  return net::failure_words(error);
}

[[noreturn]] void fail(const error_code& error) { throw ExchangeError(kind_of(error), error.message()); }

}  // namespace

net::Url parse_url(const std::string& text, const std::string& option) {
  if (!text.starts_with("http://") && !text.starts_with("https://"))
    throw UsageError("argument " + option + ": " + text + " begins neither with http:// nor https://");
  std::optional<net::Url> url = net::parse_url(text);
  if (!url || !url->user_info.empty())
    throw UsageError("argument " + option + ": " + text + " is no address of a server");
  if (url->target == "/") url->target.clear();
  return *std::move(url);
}

class HttpClient::Connection {
 public:
  // `tls` null: plain HTTP.
  Connection(asio::io_context& io, const net::TlsContext& tls) : stream_(tcp::socket(io), tls) {}

  asio::awaitable<void> open(const net::Url& server, const std::vector<tcp::endpoint>& addresses) {
    co_await asio::async_connect(stream_.socket(), addresses, asio::use_awaitable);
    stream_.socket().set_option(tcp::no_delay(true));
    if (!stream_.is_tls()) co_return;
    stream_.expect_host(server.host);
    co_await stream_.async_handshake(asio::ssl::stream_base::client, asio::use_awaitable);
  }

  // Sends `request` and reads its answer. `started`: a byte of the answer has come. True when another request
  // may follow. Throws system_error.
  asio::awaitable<bool> exchange(const std::string& request, const BodySink& sink, Answer& answer,
                                 bool& started) {
    co_await asio::async_write(stream_, asio::buffer(request), asio::use_awaitable);
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
  // 0 at the end of the stream.
  asio::awaitable<size_t> read(asio::mutable_buffer space) {
    error_code error;
    const size_t count =
        co_await stream_.async_read_some(space, asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::eof) co_return 0;
    if (error) throw system_error(error);
    co_return count;
  }

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

  net::Stream<tcp::socket> stream_;
};

HttpClient::HttpClient(asio::io_context& io, const net::Url& server, bool insecure)
    : io_(io), server_(server), tls_(server.tls ? net::make_client_tls_context(insecure) : nullptr) {}

HttpClient::~HttpClient() = default;

std::string HttpClient::request_text(const std::string& method, const std::string& path,
                                     const Headers& headers, const std::string& body) const {
  Headers all = {{"Host", server_.host_and_port()}, {"Accept", "*/*"}};
  if (!body.empty()) {
    all.emplace_back("Content-Type", "application/json");
    all.emplace_back("Content-Length", std::to_string(body.size()));
  }
  for (const auto& header : headers) {
    std::erase_if(all, [&](const auto& other) { return equals_ignoring_case(other.first, header.first); });
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
  auto connection = std::make_unique<Connection>(io_, tls_);
  co_await connection->open(server_, addresses_);
  co_return connection;
}

asio::awaitable<Answer> HttpClient::exchange(const std::string& request, const BodySink& sink) {
  ConnectionPtr connection = take_idle();
  bool is_kept = connection != nullptr;
  Answer answer;
  bool started = false;
  while (true) {
    error_code failure;
    try {
      if (connection == nullptr) connection = co_await connect();
      const bool reusable = co_await connection->exchange(request, sink, answer, started);
      if (reusable) idle_.push_back(std::move(connection));
      co_return answer;
    } catch (const system_error& error) {
      failure = error.code();
    }
    // The server may have closed a kept connection while nothing was sent.
    if (!is_kept || started) fail(failure);
    is_kept = false;
    connection.reset();
  }
}

}  // namespace outrider::client

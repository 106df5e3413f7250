#include "hub/http.h"

#include <openssl/evp.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <chrono>

#include "base/error.h"
#include "base/text.h"
#include "net/failure.h"
#include "net/stream.h"

namespace outrider::hub {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr size_t kMaxHeaderBytes = 64 << 10;
constexpr size_t kMaxKept = 4;
constexpr int kMaxRedirects = 5;

std::string base64(const std::string& text) {
  std::string out((text.size() + 2) / 3 * 4 + 1, '\0');  // with the zero at the end
  const int count =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  out.resize(static_cast<size_t>(count));
  return out;
}

std::string proxy_line(const net::Url& proxy) {
  return proxy.user_info.empty() ? "" : "Proxy-Authorization: Basic " + base64(proxy.user_info) + "\r\n";
}

}  // namespace

const std::string* Answer::find(const char* name) const {
  for (const auto& [key, value] : headers) {
    if (equals_ignoring_case(key, name)) return &value;
  }
  return nullptr;
}

// To one origin, straight or through a proxy.
class HttpClient::Connection {
 public:
  Connection(const Settings& settings, const std::atomic<bool>& stop, const net::TlsContext& tls,
             const net::Url& url)
      : settings_(settings),
        stop_(stop),
        origin_(url),
        proxy_(net::proxy_for(settings.proxies, url)),
        stream_(tcp::socket(io_), url.tls ? tls : nullptr) {}

  const net::Url& origin() const { return origin_; }
  bool is_idle() const { return is_idle_; }

  void open() {
    const net::Url& peer = proxy_ != nullptr ? *proxy_ : origin_;
    const std::string to = (proxy_ != nullptr ? "proxy " : "") + peer.authority();
    tcp::resolver resolver(io_);
    tcp::resolver::results_type found;
    wait("looking up " + peer.host, [&](error_code& result) {
      resolver.async_resolve(peer.host, peer.port,
                             [&](error_code error, tcp::resolver::results_type results) {
                               found = std::move(results);
                               result = error;
                             });
    });
    wait("connecting to " + to, [&](error_code& result) {
      asio::async_connect(stream_.socket(), found,
                          [&](error_code error, const tcp::endpoint&) { result = error; });
    });
    stream_.socket().set_option(tcp::no_delay(true));
    if (!stream_.is_tls()) return;
    if (proxy_ != nullptr) open_tunnel();
    shake_hands();
  }

  // True when a byte of the answer came before an error.
  bool has_answered() const { return has_answered_; }

  Answer exchange(const std::string& method, const net::Url& url, const Headers& headers) {
    is_idle_ = has_answered_ = false;
    const std::string text = request_text(method, url, headers);
    wait("sending to " + origin_.authority(), [&](error_code& result) {
      asio::async_write(stream_, asio::buffer(text), [&](error_code error, size_t) { result = error; });
    });
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(boost::none);
    if (method == "HEAD") parser_->skip(true);
    buffer_.clear();
    wait(origin_.authority(), [&](error_code& result) {
      http::async_read_header(stream_, buffer_, *parser_, [&](error_code error, size_t count) {
        has_answered_ = count > 0 || buffer_.size() > 0;
        result = error;
      });
    });
    Answer answer{.status = parser_->get().result_int(), .headers = {}, .url = url};
    for (const auto& field : parser_->get()) {
      answer.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
    }
    note_end();
    return answer;
  }

  size_t read(char* data, size_t count) {
    while (!parser_->is_done()) {
      auto& body = parser_->get().body();
      body.data = data;
      body.size = count;
      wait(origin_.authority(), [&](error_code& result) {
        http::async_read_some(stream_, buffer_, *parser_, [&](error_code error, size_t) {
          result = error == http::error::need_buffer ? error_code() : error;
        });
      });
      const size_t got = count - body.size;
      note_end();
      if (got > 0) return got;
    }
    return 0;
  }

 private:
  std::string request_text(const std::string& method, const net::Url& url, const Headers& headers) const {
    const bool whole = proxy_ != nullptr && !stream_.is_tls();
    std::string text = method + " " + (whole ? url.text() : url.target) +
                       " HTTP/1.1\r\nHost: " + url.authority() +
                       "\r\nUser-Agent: outrider\r\nAccept: */*\r\nAccept-Encoding: identity\r\n";
    if (whole) text += proxy_line(*proxy_);
    for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
    if (!settings_.token.empty() && same_origin(url, settings_.endpoint)) {
      text += "Authorization: Bearer " + settings_.token + "\r\n";
    }
    return text + "\r\n";
  }

  void open_tunnel() {
    const std::string to = origin_.host_and_port();
    const std::string text =
        "CONNECT " + to + " HTTP/1.1\r\nHost: " + to + "\r\n" + proxy_line(*proxy_) + "\r\n";
    wait("sending to the proxy", [&](error_code& result) {
      asio::async_write(stream_.socket(), asio::buffer(text),
                        [&](error_code error, size_t) { result = error; });
    });
    http::response_parser<http::empty_body> parser;
    parser.header_limit(kMaxHeaderBytes);
    parser.skip(true);
    boost::beast::flat_buffer buffer;
    wait("the proxy", [&](error_code& result) {
      http::async_read_header(stream_.socket(), buffer, parser,
                              [&](error_code error, size_t) { result = error; });
    });
    const unsigned status = parser.get().result_int();
    if (status / 100 == 2 && buffer.size() == 0) return;
    const std::string line =
        "proxy " + proxy_->authority() + " answers " + std::to_string(status) + " to CONNECT " + to;
    if (status / 100 == 5) throw TransferError(line);
    throw StartupError(line + "; check HTTPS_PROXY and NO_PROXY");
  }

  void shake_hands() {
    stream_.expect_host(origin_.host);
    try {
      wait("TLS with " + origin_.authority(), [&](error_code& result) {
        stream_.async_handshake(asio::ssl::stream_base::client, [&](error_code error) { result = error; });
      });
    } catch (const TransferError&) {
      const long verdict = stream_.certificate_verdict();
      if (verdict == X509_V_OK) throw;
      throw StartupError("the certificate of " + origin_.authority() +
                         " is not trusted: " + X509_verify_cert_error_string(verdict) +
                         "; name the file of its authority in SSL_CERT_FILE");
    }
  }

  void note_end() {
    if (!parser_->is_done()) return;
    is_idle_ = parser_->get().keep_alive() && buffer_.size() == 0;
  }

  // Starts something and waits until it has set its result, `stop` is set or the time without a byte is over.
  template <typename Start>
  void wait(const std::string& what, const Start& start) {
    constexpr auto kSlice = std::chrono::milliseconds(50);
    const auto limit = Clock::now() + std::chrono::duration<double>(settings_.timeout);
    error_code result = asio::error::would_block;
    io_.restart();
    start(result);
    while (result == asio::error::would_block) {
      io_.run_for(kSlice);
      if (result != asio::error::would_block) break;
      const bool too_late = Clock::now() >= limit;
      if (!too_late && !stop_) continue;
      error_code ignored;
      stream_.socket().close(ignored);
      io_.run();
      throw TransferError(what + ": " + (too_late ? "no byte for " + seconds() + " s" : "given up"));
    }
    if (result) throw TransferError(what + ": " + net::failure_words(result));
  }

  std::string seconds() const {
    std::string text = std::to_string(settings_.timeout);
    return text.substr(0, text.find('.') + 2);
  }

  const Settings& settings_;
  const std::atomic<bool>& stop_;
  const net::Url origin_;
  const net::Url* const proxy_;
  asio::io_context io_{1};
  net::Stream<tcp::socket> stream_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::response_parser<http::buffer_body>> parser_;
  bool is_idle_ = false, has_answered_ = false;
};

HttpClient::HttpClient(const Settings& settings, const std::atomic<bool>& stop)
    : settings_(settings), stop_(stop), tls_(net::make_client_tls_context(/*insecure=*/false)) {}

HttpClient::~HttpClient() = default;

HttpClient::Connection& HttpClient::connect(const net::Url& url, bool& is_kept) {
  current_ = nullptr;
  std::erase_if(kept_, [](const auto& connection) { return !connection->is_idle(); });
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const auto& connection) {
    return same_origin(connection->origin(), url);
  });
  is_kept = found != kept_.end();
  if (is_kept) {
    std::rotate(found, found + 1, kept_.end());
    return *kept_.back();
  }
  if (kept_.size() >= kMaxKept) kept_.erase(kept_.begin());
  auto connection = std::make_unique<Connection>(settings_, stop_, tls_, url);
  connection->open();
  kept_.push_back(std::move(connection));
  return *kept_.back();
}

Answer HttpClient::open(const std::string& method, const net::Url& url, const Headers& headers) {
  bool is_kept = false;
  Connection* connection = &connect(url, is_kept);
  Answer answer;
  try {
    answer = connection->exchange(method, url, headers);
  } catch (const TransferError&) {
    // The other side may have closed a kept connection while nothing was sent.
    if (!is_kept || connection->has_answered() || stop_) throw;
    connection = &connect(url, is_kept);
    answer = connection->exchange(method, url, headers);
  }
  current_ = connection;
  return answer;
}

Answer HttpClient::follow(const std::string& method, const net::Url& url, const Headers& headers, bool stay) {
  constexpr size_t kMaxSkipped = 64 << 10;
  Answer answer = open(method, url, headers);
  for (int i = 0; i < kMaxRedirects; ++i) {
    const bool redirects = answer.status == 301 || answer.status == 302 || answer.status == 303 ||
                           answer.status == 307 || answer.status == 308;
    const std::string* location = answer.find("Location");
    if (!redirects || location == nullptr) return answer;
    const std::optional<net::Url> next = net::resolve_location(answer.url, *location);
    if (!next) throw StartupError(answer.url.authority() + " redirects to an address that is not followed");
    if (stay && !same_origin(*next, answer.url)) return answer;
    read_all(kMaxSkipped);
    answer = open(method, *next, headers);
  }
  throw StartupError(url.authority() + " redirects without end");
}

size_t HttpClient::read(char* data, size_t count) {
  return current_ == nullptr ? 0 : current_->read(data, count);
}

std::string HttpClient::read_all(size_t limit) {
  std::string text;
  char buffer[16 << 10];
  for (size_t count = 0; (count = read(buffer, sizeof buffer)) > 0;) {
    text.append(buffer, count);
    if (text.size() > limit) throw TransferError(current_->origin().authority() + ": answer is too long");
  }
  return text;
}

}  // namespace outrider::hub

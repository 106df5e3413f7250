// A socket, plain or under TLS, behind one set of calls. At most one read and one write are outstanding.
#pragma once

#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <optional>
#include <string>
#include <utility>

#include "net/tls.h"

namespace outrider::net {

template <class Socket>
class Stream {
 public:
  using executor_type = typename Socket::executor_type;

  // `context` null: plain.
  Stream(Socket socket, TlsContext context) : socket_(std::move(socket)), context_(std::move(context)) {
    if (context_) tls_.emplace(socket_, *context_);
  }
  Stream(const Stream&) = delete;

  executor_type get_executor() { return socket_.get_executor(); }
  bool is_tls() const { return tls_.has_value(); }
  Socket& socket() { return socket_; }

  // Under TLS only. What the last certificate was found to be: an X509_V_ code.
  long certificate_verdict() { return SSL_get_verify_result(tls_->native_handle()); }
  // Under TLS only, before a client's handshake: asks for the certificate of `host` and checks that it is
  // its.
  void expect_host(const std::string& host) {
    if (!is_ip_address(host)) SSL_set_tlsext_host_name(tls_->native_handle(), host.c_str());
    tls_->set_verify_callback(boost::asio::ssl::host_name_verification(host));
  }
  // Under TLS only. The completion takes (error).
  template <class Token>
  auto async_handshake(boost::asio::ssl::stream_base::handshake_type side, Token&& token) {
    return tls_->async_handshake(side, std::forward<Token>(token));
  }
  // Under TLS only. Says farewell and waits for the peer's; no read or write may be outstanding.
  template <class Token>
  auto async_shutdown(Token&& token) {
    return tls_->async_shutdown(std::forward<Token>(token));
  }

  // The completion takes (error, bytes).
  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_read_some(buffers, std::forward<Token>(token));
    return socket_.async_read_some(buffers, std::forward<Token>(token));
  }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_write_some(buffers, std::forward<Token>(token));
    return socket_.async_write_some(buffers, std::forward<Token>(token));
  }

 private:
  Socket socket_;
  TlsContext context_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
};

}  // namespace outrider::net

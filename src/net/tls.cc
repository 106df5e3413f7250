#include "net/tls.h"

#include <boost/asio/ip/address.hpp>

namespace outrider::net {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;

TlsContext make_tls_context(ssl::context::method method) {
  auto context = std::make_shared<ssl::context>(method);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 | ssl::context::no_sslv3 |
                       ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1);
  return context;
}

TlsContext make_client_tls_context(bool insecure) {
  TlsContext context = make_tls_context(ssl::context::tls_client);
  context->set_default_verify_paths();
  context->set_verify_mode(insecure ? ssl::verify_none : ssl::verify_peer);
  return context;
}

bool is_ip_address(const std::string& host) {
  boost::system::error_code is_name;
  asio::ip::make_address(host, is_name);
  return !is_name;
}

}  // namespace outrider::net

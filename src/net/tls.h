// TLS settings that connections share, and those of clients.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

namespace outrider::net {

using TlsContext = std::shared_ptr<boost::asio::ssl::context>;

// TLS 1.2 or later. `method`: tls_client or tls_server.
TlsContext make_tls_context(boost::asio::ssl::context::method method);

// Trusts what SSL_CERT_FILE and SSL_CERT_DIR name, else the system's. `insecure`: certificates are not
// checked.
TlsContext make_client_tls_context(bool insecure);

// Such names stand in no certificate request (RFC 6066).
bool is_ip_address(const std::string& host);

}  // namespace outrider::net

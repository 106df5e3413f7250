#include "server/tls.h"

#include <algorithm>

#include "base/error.h"

namespace outrider::server {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

namespace {

void check(const error_code& error, const char* flag, const std::string& file) {
  if (error) throw StartupError(std::string(flag) + " " + file + ": " + error.message());
}

}  // namespace

net::TlsContext make_tls_context(const TlsOptions& options) {
  net::TlsContext context = net::make_tls_context(ssl::context::tls_server);
  SSL_CTX_set_options(context->native_handle(), SSL_OP_NO_RENEGOTIATION);
  error_code error;
  context->use_certificate_chain_file(options.cert_file, error);
  check(error, "--ssl-certfile", options.cert_file);
  // Without this OpenSSL would ask the terminal for the pass phrase of an encrypted key.
  context->set_password_callback([](size_t, ssl::context::password_purpose) { return std::string(); });
  const std::string& key = options.key_file.empty() ? options.cert_file : options.key_file;
  context->use_private_key_file(key, ssl::context::pem, error);
  check(error, "--ssl-keyfile", key);
  if (SSL_CTX_check_private_key(context->native_handle()) != 1) {
    throw StartupError("--ssl-keyfile " + key + " does not belong to --ssl-certfile " + options.cert_file);
  }
  if (!options.ca_file.empty()) {
    context->load_verify_file(options.ca_file, error);
    check(error, "--ssl-ca-certs", options.ca_file);
  }
  if (options.clients != ClientCertificates::kNone) {
    if (options.ca_file.empty()) {
      throw UsageError(
          "--ssl-cert-reqs asks for certificates of clients: name who signs them with --ssl-ca-certs");
    }
    context->set_verify_mode(options.clients == ClientCertificates::kRequired
                                 ? ssl::verify_peer | ssl::verify_fail_if_no_peer_cert
                                 : ssl::verify_peer);
    // Sessions of clients that were checked may be resumed only in the same setting.
    SSL_CTX_set_session_id_context(context->native_handle(),
                                   reinterpret_cast<const unsigned char*>("outrider"), 8);
  }
  return context;
}

TlsFiles::TlsFiles(const TlsOptions& options) : options_(options), seen_(newest()) {}

bool TlsFiles::changed() {
  const auto now = newest();
  if (now == seen_) return false;
  seen_ = now;
  return true;
}

std::filesystem::file_time_type TlsFiles::newest() const {
  auto newest = std::filesystem::file_time_type::min();
  for (const std::string* file : {&options_.cert_file, &options_.key_file, &options_.ca_file}) {
    if (file->empty()) continue;
    std::error_code error;
    const auto time = std::filesystem::last_write_time(*file, error);
    if (!error) newest = std::max(newest, time);
  }
  return newest;
}

}  // namespace outrider::server

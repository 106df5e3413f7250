// TLS of the listening socket, from --ssl-*.
#pragma once

#include <filesystem>
#include <string>

#include "net/tls.h"

namespace outrider::server {

// Python's ssl.CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED.
enum class ClientCertificates { kNone = 0, kOptional = 1, kRequired = 2 };

struct TlsOptions {
  std::string cert_file;  // PEM, the whole chain; empty: no TLS
  std::string key_file;   // empty: in cert_file
  std::string ca_file;    // what clients' certificates are checked with
  ClientCertificates clients = ClientCertificates::kNone;
  bool refresh = false;  // read the files again when they change
};

// TLS 1.2 or later. Throws StartupError naming the file.
net::TlsContext make_tls_context(const TlsOptions& options);

// Tells when the files of `options` have been written to.
class TlsFiles {
 public:
  explicit TlsFiles(const TlsOptions& options);
  bool changed();

 private:
  std::filesystem::file_time_type newest() const;
  const TlsOptions& options_;
  std::filesystem::file_time_type seen_;
};

}  // namespace outrider::server

// A blocking HTTP/1.1 client with time limits: over TLS, through proxies, with kept connections. One thread
// each.
#pragma once

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "hub/settings.h"
#include "net/tls.h"

namespace outrider::hub {

// Connection or answer failed in a way that another try may mend. One short line.
class TransferError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Answer {
  unsigned status = 0;
  Headers headers;
  net::Url url;  // who answered

  // Null where there is none. Names in any case.
  const std::string* find(const char* name) const;
};

class HttpClient {
 public:
  // Settings and `stop` must outlive it. Once `stop` is set everything throws TransferError.
  HttpClient(const Settings& settings, const std::atomic<bool>& stop);
  ~HttpClient();

  // Sends one request and reads the head of its answer. The token goes to the hub's own origin alone. Throws
  // TransferError; StartupError where another try cannot help: a certificate that is not trusted, a proxy
  // that refuses.
  Answer open(const std::string& method, const net::Url& url, const Headers& headers);
  // The same and what it redirects to, at most 5 times. `stay`: not to other origins.
  Answer follow(const std::string& method, const net::Url& url, const Headers& headers, bool stay);
  // Some bytes of the last answer's body. 0 at its end. Throws TransferError.
  size_t read(char* data, size_t count);
  // The rest of the body. Throws TransferError above `limit` bytes.
  std::string read_all(size_t limit);

 private:
  class Connection;

  Connection& connect(const net::Url& url, bool& is_kept);

  const Settings& settings_;
  const std::atomic<bool>& stop_;
  net::TlsContext tls_;
  std::vector<std::unique_ptr<Connection>> kept_;  // at most one an origin; the last used at the back
  Connection* current_ = nullptr;
};

}  // namespace outrider::hub

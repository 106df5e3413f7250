// What routes see of HTTP: plain requests in, a Responder out. No sockets here, so routes are testable
// without them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace outrider::server {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;
  std::string target;  // as sent: path and query
  int version = 11;    // 10 or 11
  Headers headers;     // names in lower case
  std::string body;
  std::string peer;  // "127.0.0.1:40000"

  // Empty when absent.
  std::string_view header(std::string_view lower_case_name) const;
  bool has_header(std::string_view lower_case_name) const;
  std::string_view path() const { return std::string_view(target).substr(0, target.find('?')); }
};

struct HttpResponse {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";  // empty: no such header
  Headers headers;
};

const char* reason_phrase(int status);

// The answer's way back to one request. All calls and callbacks are on the connection's executor (one at a
// time), but for `post`, which any thread may call. After a disconnect calls do nothing.
class Responder {
 public:
  virtual ~Responder() = default;

  // A whole answer; ends the exchange.
  virtual void send(HttpResponse response) = 0;

  // A stream: head, any number of writes (each is one chunk and one write to the socket), end.
  virtual void start_stream(HttpResponse head) = 0;
  virtual void write(std::string bytes) = 0;
  virtual void finish() = 0;

  // Called at most once, when the peer is gone or was cut off before the answer was complete. At once if it
  // is already.
  virtual void on_disconnect(std::function<void()> callback) = 0;

  // Any thread: runs `task` on the connection's executor.
  virtual void post(std::function<void()> task) = 0;
  // Runs `work` (about `bytes` of text to chew on) away from other connections when it is large, then `then`
  // on the connection's executor.
  virtual void offload(size_t bytes, std::function<void()> work, std::function<void()> then) = 0;
};

using ResponderPtr = std::shared_ptr<Responder>;

}  // namespace outrider::server

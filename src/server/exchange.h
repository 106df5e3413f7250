// One request's Responder.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "server/connection.h"
#include "server/http.h"

namespace outrider::server {

// Keeps its connection until the answer is complete; a route that drops it without an answer closes the
// connection. All but `post` runs on the connection's strand.
class Exchange : public Responder, public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(std::shared_ptr<Connection> connection, bool keep_alive, int version, bool head_only);
  ~Exchange() override;

  void send(HttpResponse response) override;
  void start_stream(HttpResponse head) override;
  void write(std::string bytes) override;
  void finish() override;
  void on_disconnect(std::function<void()> callback) override;
  void post(std::function<void()> task) override;
  void offload(size_t bytes, std::function<void()> work, std::function<void()> then) override;

  void peer_gone();

 private:
  std::shared_ptr<Connection> end();

  std::shared_ptr<Connection> connection_;  // null once the answer is complete or the peer is gone
  Socket::executor_type executor_;
  ConnectionSet& set_;
  bool keep_alive_;
  const int version_;
  const bool head_only_;
  bool chunked_ = false, gone_ = false;
  std::function<void()> on_disconnect_;
};

}  // namespace outrider::server

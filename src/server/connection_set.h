// All connections of a server, and what they share.
#pragma once

#include <atomic>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "net/stream.h"
#include "server/http.h"
#include "server/options.h"

namespace outrider::server {

using Socket = boost::asio::basic_stream_socket<boost::asio::generic::stream_protocol,
                                                boost::asio::strand<boost::asio::io_context::executor_type>>;

class Connection;

// Thread-safe.
class ConnectionSet {
 public:
  ConnectionSet(const Limits& limits, boost::asio::thread_pool& workers,
                std::function<void(HttpRequest, ResponderPtr)> handle)
      : limits(limits), workers(workers), handle(std::move(handle)) {}

  // Takes the socket over; closes it when there are too many. `tls` null: plain HTTP.
  void open(Socket socket, net::TlsContext tls, std::string peer);
  // Idle connections close now, the others after their answer.
  void drain();
  // All connections close now.
  void abort();
  size_t size() const;
  bool draining() const { return draining_; }

  const Limits& limits;
  boost::asio::thread_pool& workers;
  const std::function<void(HttpRequest, ResponderPtr)> handle;

 private:
  friend class Connection;
  void remove(Connection* connection);
  void for_each(const std::function<void(const std::shared_ptr<Connection>&)>& action);

  mutable std::mutex mutex_;
  std::set<Connection*> connections_;  // guarded by mutex_; members remove themselves before they die
  std::atomic<bool> draining_{false};
};

}  // namespace outrider::server

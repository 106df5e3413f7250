// One client's HTTP/1.1 connection: requests in, answers out, limits on time and size.
//
// A read is always outstanding while the socket is open, also while an answer is made: so a peer that goes
// away is noticed at once, whatever the route does. All members run on the connection's strand.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "server/http.h"
#include "server/options.h"
#include "server/stream.h"

namespace outrider::server {

class Connection;

// What connections share. Thread-safe.
class ConnectionSet {
 public:
  ConnectionSet(const Limits& limits, boost::asio::thread_pool& workers,
                std::function<void(HttpRequest, ResponderPtr)> handle)
      : limits(limits), workers(workers), handle(std::move(handle)) {}

  // Takes the socket over; closes it when there are too many. `tls` null: plain HTTP.
  void open(Socket socket, TlsContext tls, std::string peer);
  // Idle connections close now, the others after their answer.
  void drain();
  // All connections close now.
  void abort();
  size_t size() const;

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

#include "server/connection_set.h"

#include <boost/asio/post.hpp>

#include "server/connection.h"

namespace outrider::server {

void ConnectionSet::open(Socket socket, net::TlsContext tls, std::string peer) {
  const auto connection =
      std::make_shared<Connection>(std::move(socket), std::move(tls), std::move(peer), *this);
  {
    const std::lock_guard lock(mutex_);
    if (connections_.size() >= static_cast<size_t>(limits.connections)) return;  // closes it
    connections_.insert(connection.get());
  }
  connection->start();
}

void ConnectionSet::remove(Connection* connection) {
  const std::lock_guard lock(mutex_);
  connections_.erase(connection);
}

size_t ConnectionSet::size() const {
  const std::lock_guard lock(mutex_);
  return connections_.size();
}

void ConnectionSet::for_each(const std::function<void(const std::shared_ptr<Connection>&)>& action) {
  std::vector<std::shared_ptr<Connection>> all;
  {
    const std::lock_guard lock(mutex_);
    for (Connection* connection : connections_) {
      if (auto alive = connection->weak_from_this().lock()) all.push_back(std::move(alive));
    }
  }
  for (const auto& connection : all) action(connection);
}

void ConnectionSet::drain() {
  draining_ = true;
  for_each([](const auto& connection) { connection->drain(); });
}

void ConnectionSet::abort() {
  draining_ = true;
  for_each([](const auto& connection) {
    boost::asio::post(connection->executor(), [connection] { connection->peer_gone(); });
  });
}

}  // namespace outrider::server

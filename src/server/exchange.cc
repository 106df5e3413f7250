#include "server/exchange.h"

#include <boost/asio/post.hpp>
#include <utility>

#include "server/response_text.h"

namespace outrider::server {

namespace asio = boost::asio;

namespace {

constexpr size_t kInlineBytes = size_t{32} << 10;  // bodies up to this are worked on in place

}  // namespace

Exchange::Exchange(std::shared_ptr<Connection> connection, bool keep_alive, int version, bool head_only)
    : connection_(std::move(connection)),
      executor_(connection_->executor()),
      set_(connection_->set()),
      keep_alive_(keep_alive),
      version_(version),
      head_only_(head_only) {}

Exchange::~Exchange() {
  if (connection_) asio::post(executor_, [connection = std::move(connection_)] { connection->peer_gone(); });
}

void Exchange::send(HttpResponse response) {
  const auto connection = end();
  if (!connection) return;
  connection->queue(response_text(response, {version_, keep_alive_, false, head_only_}));
  connection->end_answer(keep_alive_);
}

void Exchange::start_stream(HttpResponse head) {
  const auto connection = connection_;
  if (!connection) return;
  chunked_ = version_ == 11;
  if (!chunked_) keep_alive_ = false;  // HTTP/1.0: the end of the connection is the end of the stream
  connection->queue(response_text(head, {version_, keep_alive_, true, head_only_}));
}

void Exchange::write(std::string bytes) {
  const auto connection = connection_;
  if (!connection || bytes.empty()) return;
  if (connection->is_full()) return connection->cut_off("it does not read its stream");
  connection->queue(chunked_ ? chunk_text(bytes) : std::move(bytes));
}

void Exchange::finish() {
  const auto connection = end();
  if (!connection) return;
  if (chunked_) connection->queue("0\r\n\r\n");
  connection->end_answer(keep_alive_);
}

void Exchange::on_disconnect(std::function<void()> callback) {
  if (gone_) {
    callback();
  } else if (connection_) {
    on_disconnect_ = std::move(callback);
  }
}

void Exchange::post(std::function<void()> task) { asio::post(executor_, std::move(task)); }

void Exchange::offload(size_t bytes, std::function<void()> work, std::function<void()> then) {
  if (bytes <= kInlineBytes) {
    work();
    then();
    return;
  }
  asio::post(set_.workers, [executor = executor_, work = std::move(work), then = std::move(then)]() mutable {
    work();
    asio::post(executor, std::move(then));
  });
}

void Exchange::peer_gone() {
  gone_ = true;
  connection_ = nullptr;
  if (const auto callback = std::exchange(on_disconnect_, nullptr)) callback();
}

std::shared_ptr<Connection> Exchange::end() {
  on_disconnect_ = nullptr;
  return std::exchange(connection_, nullptr);
}

}  // namespace outrider::server

// A plain blocking client, so that tests decide when each byte is sent and read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace outrider::server {

class SocketClient {
 public:
  explicit SocketClient(uint16_t port, int receive_buffer = 0);
  ~SocketClient();
  SocketClient(const SocketClient&) = delete;
  SocketClient& operator=(const SocketClient&) = delete;

  bool connected() const { return fd_ >= 0; }
  bool send(std::string_view bytes);
  // Reads until `text` has been seen in all; false at the end of the connection or after `seconds`.
  bool read_until(std::string_view text, double seconds = 10);
  // True when the peer ends the connection within `seconds`.
  bool read_to_end(double seconds = 10);
  void close();

  std::string received;

 private:
  int read_some(double seconds);  // bytes; 0 at the end; -1 at the time limit
  int fd_ = -1;
};

std::string post_text(const std::string& path, const std::string& body,
                      const std::string& extra_headers = {});

}  // namespace outrider::server

// Server-sent events out of a stream of bytes, whatever the pieces it comes in.
// Source: WHATWG HTML, "Server-sent events"; of an event only its data is kept.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace outrider::client {

class SseParser {
 public:
  static constexpr size_t kMaxEventBytes = 16 << 20;
  using Sink = std::function<void(std::string_view data)>;

  // Calls `sink` for each event that `bytes` complete. False once an event is longer than kMaxEventBytes: the
  // rest is not read.
  bool push(std::string_view bytes, const Sink& sink);
  // At the end of the stream: an event whose blank line is missing.
  void finish(const Sink& sink);

 private:
  void take_line(std::string_view line, const Sink& sink);
  void dispatch(const Sink& sink);

  std::string line_;  // begin of a line whose end has not come
  std::string data_;
  bool has_data_ = false;
  bool after_cr_ = false;  // a line feed that comes now belongs to the end before it
};

}  // namespace outrider::client

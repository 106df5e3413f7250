#include "client/sse.h"

namespace outrider::client {

bool SseParser::push(std::string_view bytes, const Sink& sink) {
  while (!bytes.empty()) {
    if (after_cr_ && bytes[0] == '\n') bytes.remove_prefix(1);
    after_cr_ = false;
    const size_t end = bytes.find_first_of("\r\n");
    const std::string_view piece = bytes.substr(0, end);
    if (line_.size() + data_.size() + piece.size() > kMaxEventBytes) return false;
    if (end == std::string_view::npos) {
      line_ += piece;
      return true;
    }
    if (line_.empty()) {
      take_line(piece, sink);
    } else {
      line_ += piece;
      take_line(line_, sink);
      line_.clear();
    }
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
  }
  return true;
}

void SseParser::finish(const Sink& sink) {
  if (!line_.empty()) take_line(line_, sink);
  line_.clear();
  dispatch(sink);
}

void SseParser::take_line(std::string_view line, const Sink& sink) {
  if (line.empty()) return dispatch(sink);
  if (!line.starts_with("data:")) return;  // comments, and fields that nobody asks for
  line.remove_prefix(5);
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (has_data_) data_ += '\n';
  data_ += line;
  has_data_ = true;
}

void SseParser::dispatch(const Sink& sink) {
  if (!has_data_) return;
  sink(data_);
  data_.clear();
  has_data_ = false;
}

}  // namespace outrider::client

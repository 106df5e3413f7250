#include "server/response_text.h"

#include <charconv>
#include <ctime>

namespace outrider::server {
namespace {

// "Sun, 06 Nov 1994 08:49:37 GMT", made once a second.
const std::string& date_text() {
  thread_local std::time_t made = 0;
  thread_local std::string text;
  const std::time_t now = std::time(nullptr);
  if (now != made) {
    std::tm parts{};
    gmtime_r(&now, &parts);
    char buffer[64];
    text.assign(buffer, std::strftime(buffer, sizeof buffer, "%a, %d %b %Y %H:%M:%S GMT", &parts));
    made = now;
  }
  return text;
}

}  // namespace

std::string response_text(const HttpResponse& response, const Framing& framing) {
  std::string out = framing.version == 10 ? "HTTP/1.0 " : "HTTP/1.1 ";
  out += std::to_string(response.status) + " " + reason_phrase(response.status) + "\r\n";
  out += "date: " + date_text() + "\r\nserver: outrider\r\n";
  if (!framing.stream) out += "content-length: " + std::to_string(response.body.size()) + "\r\n";
  if (!response.content_type.empty()) out += "content-type: " + response.content_type + "\r\n";
  for (const auto& [name, value] : response.headers) out += name + ": " + value + "\r\n";
  if (!framing.keep_alive) {
    out += "connection: close\r\n";
  } else if (framing.version == 10) {
    out += "connection: keep-alive\r\n";
  }
  if (framing.stream && framing.version == 11) out += "transfer-encoding: chunked\r\n";
  out += "\r\n";
  if (!framing.head_only) out += response.body;
  return out;
}

std::string chunk_text(const std::string& bytes) {
  char size[20];
  const auto end = std::to_chars(size, size + sizeof size, bytes.size(), 16).ptr;
  std::string out(size, end);
  out += "\r\n";
  out += bytes;
  out += "\r\n";
  return out;
}

}  // namespace outrider::server

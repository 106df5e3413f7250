// Any bytes as an address, and as a redirect's Location: one that can be written down and read again, or
// none.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "net/url.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace outrider::net;
  const std::string text(reinterpret_cast<const char*>(data), std::min<size_t>(size, 8192));
  if (const auto url = parse_url(text); url && parse_url(url->text())->text() != url->text()) std::abort();
  const Url base = *parse_url("https://hub.example/a/b?c");
  if (const auto url = resolve_location(base, text); url && (!url->tls || !parse_url(url->text())))
    std::abort();
  return 0;
}

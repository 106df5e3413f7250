// Any bytes as what the hub, its storage or the disk says: values within their limits, or StartupError.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "hub/listing.h"
#include "hub/partial_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace outrider::hub;
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    for (const RemoteFile& file : parse_listing(text, true, "input").files) {
      const bool fits =
          is_plain_name(file.name) && (file.etag.empty() || file.etag.size() == 40 || file.etag.size() == 64);
      if (!fits || file.size.value_or(0) > kMaxFileBytes) std::abort();
    }
  } catch (const outrider::StartupError&) {
  }
  retry_after(&text, nullptr);
  retry_after(nullptr, &text);
  decode_record(uint64_t{40} << 20, text);
  return 0;
}

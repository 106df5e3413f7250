// What a server streams to `outrider bench serve`. The first byte says where the stream is cut in two: that
// must not matter.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "bench/outcome.h"
#include "client/reply.h"

namespace {

outrider::bench::Outcome read(std::string_view first, std::string_view second, bool chat) {
  const auto now = outrider::bench::Clock::now();
  outrider::bench::Outcome outcome;
  outrider::bench::AnswerReader reader(outcome, chat, now);
  reader.push(first, now);
  reader.push(second, now);
  reader.finish();
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t cut = stream.empty() ? 0 : data[0] % stream.size();
  for (const bool chat : {false, true}) {
    const auto whole = read(stream, "", chat);
    const auto parts = read(stream.substr(0, cut), stream.substr(cut), chat);
    if (whole.text != parts.text || whole.error != parts.error || whole.itl.size() != parts.itl.size())
      std::abort();
  }
  outrider::client::error_message(stream);
  return 0;
}

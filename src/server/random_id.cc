#include "server/random_id.h"

#include <random>

#include "base/text.h"

namespace outrider::server {

std::string random_id() {
  thread_local std::mt19937_64 generator = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  std::string text;
  for (int i = 0; i < 8; ++i) append_hex(text, static_cast<uint32_t>(generator()), 4);
  return text;
}

}  // namespace outrider::server

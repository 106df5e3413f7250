// Hashes for tables that are filled once from a file and then only read.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace outrider::tokenizer {

// Finaliser of MurmurHash3: every input bit reaches every output bit.
inline uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xFF51AFD7ED558CCDu;
  x ^= x >> 33;
  x *= 0xC4CEB9FE1A85EC53u;
  return x ^ (x >> 33);
}

inline uint64_t hash_bytes(std::string_view bytes) {
  uint64_t hash = 0x9E3779B97F4A7C15u * (bytes.size() + 1);
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (uint64_t word; left >= sizeof(word); at += sizeof(word), left -= sizeof(word)) {
    std::memcpy(&word, at, sizeof(word));
    hash = mix(hash ^ word);
  }
  uint64_t tail = 0;
  if (left > 0) std::memcpy(&tail, at, left);
  return mix(hash ^ tail);
}

}  // namespace outrider::tokenizer

// Bits that no kernel is fast by chance on.
#pragma once

#include <cstdint>

namespace outrider::cuda {

__device__ __forceinline__ uint32_t scattered(int64_t i) {
  uint32_t x = static_cast<uint32_t>(i) * 2654435761u;
  x ^= x >> 15;
  x *= 0x85ebca6bu;
  x ^= x >> 13;
  return x;
}

}  // namespace outrider::cuda

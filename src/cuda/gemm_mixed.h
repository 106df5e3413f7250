// Where a group that takes every token is multiplied beside groups that share them
// (GemmCall::first_takes_all): its tiles go evenly between theirs.
#pragma once

#include <cstdint>

namespace outrider::cuda {

// The tile in place `item` of `all`, of which the first `first` are that group's.
#ifdef __CUDACC__
__host__ __device__
#endif
    constexpr uint32_t
    mixed_tile(uint32_t item, uint32_t first, uint32_t all) {
  const uint32_t before = item * first / all;  // of that group's
  return (item + 1) * first / all > before ? before : first + item - before;
}

}  // namespace outrider::cuda

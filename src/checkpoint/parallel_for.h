// Loops over big memory while loading, when no runner and no thread pool exists yet.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace outrider::checkpoint {

// Calls body(i) for each i in [0, count), each once, on up to all cores; returns when all are done. body must
// not throw.
template <class Body>
void parallel_for(int64_t count, const Body& body) {
  std::atomic<int64_t> next = 0;
  const auto work = [&] {
    for (int64_t i = next++; i < count; i = next++) body(i);
  };
  const int64_t threads = std::min<int64_t>(std::max(1u, std::thread::hardware_concurrency()), count);
  std::vector<std::jthread> others;
  for (int64_t i = 1; i < threads; ++i) others.emplace_back(work);
  work();
}

}  // namespace outrider::checkpoint

// Seeds of requests that bring none: random, or with --seed the same for the same requests in the same order.
#pragma once

#include <cstdint>
#include <mutex>
#include <random>

namespace outrider::server {

class Seeds {
 public:
  Seeds() : engine_(random()) {}
  void start_from(int64_t seed) {
    std::lock_guard lock(mutex_);
    engine_.seed(static_cast<uint64_t>(seed));
  }

  // Any thread.
  uint64_t next() {
    std::lock_guard lock(mutex_);
    return engine_();
  }

 private:
  static uint64_t random() {
    std::random_device device;
    return uint64_t{device()} << 32 | device();
  }

  std::mutex mutex_;
  std::mt19937_64 engine_;
};

}  // namespace outrider::server

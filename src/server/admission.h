// --max-num-queued-reqs and --max-num-queued-tokens: how much may wait or run at once.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

namespace outrider::server {

// Thread-safe.
class Admission {
 public:
  // Null: no limit.
  void set_limits(std::optional<int64_t> requests, std::optional<int64_t> tokens) {
    max_requests_ = requests;
    max_tokens_ = tokens;
  }

  // False where it would be too much. What is larger than a limit by itself gets in when nobody else is
  // there.
  bool enter(int64_t requests, int64_t tokens) {
    const std::lock_guard lock(mutex_);
    const bool full = (max_requests_ && requests_ + requests > *max_requests_) ||
                      (max_tokens_ && tokens_ + tokens > *max_tokens_);
    if (full && requests_ > 0) return false;
    requests_ += requests;
    tokens_ += tokens;
    return true;
  }

  void leave(int64_t requests, int64_t tokens) {
    const std::lock_guard lock(mutex_);
    requests_ -= requests;
    tokens_ -= tokens;
  }

 private:
  std::optional<int64_t> max_requests_, max_tokens_;  // set before requests come
  std::mutex mutex_;
  int64_t requests_ = 0, tokens_ = 0;
};

}  // namespace outrider::server

#include "cpu/thread_pool.h"

#include <sched.h>

namespace outrider::cpu {
namespace {

constexpr int kCountBits = 40;
constexpr uint64_t kCountMask = (uint64_t{1} << kCountBits) - 1;

// About 20 us: longer than the gaps between the loops of one step, shorter than what a sleeping process would
// notice.
constexpr int kSpins = 1000;

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

int default_num_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::thread::hardware_concurrency());
}

ThreadPool::ThreadPool(int num_threads) {
  for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  wake_.fetch_add(1);
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

bool ThreadPool::take(int64_t& item) {
  uint64_t state = state_.load(std::memory_order_acquire);
  while ((state & kCountMask) != 0) {
    if (state_.compare_exchange_weak(state, state - 1, std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
      item = static_cast<int64_t>(state & kCountMask) - 1;
      return true;
    }
  }
  return false;
}

void ThreadPool::run_shared(int64_t count, const void* fn, Call call) {
  fn_ = fn;
  call_ = call;
  unfinished_.store(count, std::memory_order_relaxed);
  const uint64_t epoch = (state_.load(std::memory_order_relaxed) >> kCountBits) + 1;
  state_.store((epoch << kCountBits) | static_cast<uint64_t>(count), std::memory_order_release);
  wake_.fetch_add(1, std::memory_order_release);
  wake_.notify_all();

  int64_t item;
  while (take(item)) {
    call_(fn_, item, 0);
    unfinished_.fetch_sub(1, std::memory_order_acq_rel);
  }
  // The last items run on other threads. After a while give the core away: it may be theirs.
  for (int spins = 0; unfinished_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpins) {
      pause_cpu();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::work(int thread) {
  int spins = 0;
  while (!stop_.load(std::memory_order_acquire)) {
    const uint32_t seen = wake_.load(std::memory_order_acquire);
    int64_t item;
    if (take(item)) {
      call_(fn_, item, thread);
      unfinished_.fetch_sub(1, std::memory_order_acq_rel);
      spins = 0;
    } else if (++spins < kSpins) {
      pause_cpu();
    } else if (!stop_.load(std::memory_order_acquire) &&
               (state_.load(std::memory_order_acquire) & kCountMask) == 0) {
      wake_.wait(seen, std::memory_order_acquire);
      spins = 0;
    }
  }
}

}  // namespace outrider::cpu

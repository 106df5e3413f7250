// Threads that share out the items of one loop at a time. Lives as long as the runner; the thread that calls
// run() works too, as thread 0. Only one thread may call run(), and not from within an item.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace outrider::cpu {

class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls fn(item, thread) for each item in [0, count), thread in [0, size()); returns when all are done.
  template <typename Fn>
  void run(int64_t count, const Fn& fn) {
    if (count <= 1 || workers_.empty()) {
      for (int64_t i = 0; i < count; ++i) fn(i, 0);
      return;
    }
    run_shared(count, &fn,
               [](const void* f, int64_t i, int thread) { (*static_cast<const Fn*>(f))(i, thread); });
  }

  // The same on this thread only: for work too small to be worth the hand-over (about a microsecond).
  template <typename Fn>
  void run_if(bool parallel, int64_t count, const Fn& fn) {
    if (parallel) return run(count, fn);
    for (int64_t i = 0; i < count; ++i) fn(i, 0);
  }

 private:
  using Call = void (*)(const void* fn, int64_t item, int thread);
  void run_shared(int64_t count, const void* fn, Call call);
  void work(int thread);
  bool take(int64_t& item);

  // The loop in progress. Written by run_shared while no item is left to take; an item taken keeps it
  // unchanged.
  const void* fn_ = nullptr;
  Call call_ = nullptr;

  // Epoch in the upper 24 bits, items left to take in the lower 40: one compare-and-swap takes an item of
  // exactly the loop it was read from, so that a worker that wakes late cannot disturb the next loop, nor
  // delay this one.
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<int64_t> unfinished_{0};
  alignas(64) std::atomic<uint32_t> wake_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

// Threads to use when the user gives no number: those this process may run on.
int default_num_threads();

}  // namespace outrider::cpu

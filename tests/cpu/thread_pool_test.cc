#include "cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>

namespace outrider::test {
namespace {

TEST(ThreadPool, EveryItemOfEveryLoopRunsExactlyOnce) {
  for (int threads : {1, 2, 5}) {
    cpu::ThreadPool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    std::vector<std::atomic<int>> seen(257);
    for (int loop = 0; loop < 3000; ++loop) {
      const int count = loop % 257;
      pool.run(count, [&](int64_t item, int thread) {
        EXPECT_GE(thread, 0);
        EXPECT_LT(thread, threads);
        seen[item].fetch_add(1, std::memory_order_relaxed);
      });
      for (int i = 0; i < count; ++i) ASSERT_EQ(seen[i].exchange(0), 1) << "loop " << loop;
    }
  }
}

TEST(ThreadPool, SleepingWorkersComeBackForTheNextLoop) {
  cpu::ThreadPool pool(3);
  for (int loop = 0; loop < 20; ++loop) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> done{0};
    pool.run(50, [&](int64_t, int) { done.fetch_add(1); });
    ASSERT_EQ(done.load(), 50);
  }
}

TEST(ThreadPool, TwoThreadsNeverShareAThreadIndexAtTheSameTime) {
  cpu::ThreadPool pool(4);
  std::vector<std::atomic<int>> inside(4);
  for (int loop = 0; loop < 200; ++loop) {
    pool.run(40, [&](int64_t, int thread) {
      EXPECT_EQ(inside[thread].fetch_add(1), 0);
      inside[thread].fetch_sub(1);
    });
  }
}

}  // namespace
}  // namespace outrider::test

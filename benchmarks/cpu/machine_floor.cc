// What the machine gives at most: bytes read from memory a second, and multiply-adds in registers.
// `machine_floor THREADS` prints one JSON object; the best of ten rounds each.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "machine_floor.cc"
#include "cpu/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace outrider {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Four sums, so that the additions do not wait for each other. n is a multiple of four vectors.
uint32_t sum_words(const uint32_t* p, size_t n) {
  const hn::ScalableTag<uint32_t> d;
  const size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d), b = a, c = a, e = a;
  for (size_t i = 0; i < n; i += 4 * lanes) {
    a = hn::Add(a, hn::LoadU(d, p + i));
    b = hn::Add(b, hn::LoadU(d, p + i + lanes));
    c = hn::Add(c, hn::LoadU(d, p + i + 2 * lanes));
    e = hn::Add(e, hn::LoadU(d, p + i + 3 * lanes));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
}

// Ten independent chains: more than latency times units. Returns the flops done.
double multiply_add(int count, float* out) {
  const hn::ScalableTag<float> d;
  const auto x = hn::Set(d, *out), y = hn::Set(d, 0.5f);
  auto a = x, b = x, c = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x;
  for (int n = 0; n < count; ++n) {
    a = hn::MulAdd(a, y, x);
    b = hn::MulAdd(b, y, x);
    c = hn::MulAdd(c, y, x);
    e = hn::MulAdd(e, y, x);
    f = hn::MulAdd(f, y, x);
    g = hn::MulAdd(g, y, x);
    h = hn::MulAdd(h, y, x);
    i = hn::MulAdd(i, y, x);
    j = hn::MulAdd(j, y, x);
    k = hn::MulAdd(k, y, x);
  }
  const auto sum = hn::Add(hn::Add(hn::Add(a, b), hn::Add(c, e)), hn::Add(hn::Add(f, g), hn::Add(h, i)));
  *out = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum, hn::Add(j, k))));
  return 20.0 * static_cast<double>(hn::Lanes(d)) * count;
}

}  // namespace HWY_NAMESPACE
}  // namespace outrider
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace outrider {
HWY_EXPORT(sum_words);
HWY_EXPORT(multiply_add);
namespace {

constexpr size_t kBytes = size_t{1} << 30;
constexpr int kRounds = 10;

// The most of `work(thread)` summed over threads, a second.
template <typename Fn>
double best_rate(int threads, const Fn& work) {
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> done(threads);
    std::vector<std::thread> workers;
    const auto begin = std::chrono::steady_clock::now();
    for (int t = 0; t < threads; ++t) workers.emplace_back([&, t] { done[t] = work(t); });
    for (std::thread& worker : workers) worker.join();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    double total = 0;
    for (double d : done) total += d;
    best = std::max(best, total / seconds);
  }
  return best;
}

}  // namespace
}  // namespace outrider

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const size_t words = outrider::kBytes / 4 / threads / 256 * 256;
  std::vector<uint32_t> memory(words * threads, 1);
  std::vector<float> sinks(size_t(threads) * 16, 1.0f);
  volatile uint32_t sum = 0;
  const double bytes = outrider::best_rate(threads, [&](int t) {
    sum = sum + HWY_DYNAMIC_DISPATCH(outrider::sum_words)(memory.data() + t * words, words);
    return static_cast<double>(words) * 4;
  });
  const double flops = outrider::best_rate(threads, [&](int t) {
    return HWY_DYNAMIC_DISPATCH(outrider::multiply_add)(20'000'000, &sinks[size_t(t) * 16]);
  });
  std::printf("{\"threads\": %d, \"read_gb_s\": %.2f, \"fma_gflop_s\": %.1f}\n", threads, bytes * 1e-9,
              flops * 1e-9);
  return 0;
}
#endif  // HWY_ONCE

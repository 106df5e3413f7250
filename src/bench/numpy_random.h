// The generators that vLLM's client draws from, number by number: numpy's default_rng and legacy RandomState,
// and Python's random. The same seed gives the same prompts and the same times. Sources: numpy 2 (random/src,
// random/bit_generator.pyx), CPython's Lib/random.py and Modules/_randommodule.c; M. E. O'Neill, "PCG"
// (2014); M. Matsumoto, T. Nishimura, "Mersenne Twister" (1998); D. Lemire, "Fast Random Integer Generation
// in an Interval" (2019); G. Marsaglia, W. W. Tsang, "A Simple Method for Generating Gamma Variables" (2000).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace outrider::bench {

// numpy.random.default_rng(seed): PCG64.
class NumpyGenerator {
 public:
  explicit NumpyGenerator(uint64_t seed);

  // integers(low, high, size): in [low, high). The interval must hold fewer than 2^32 numbers, and at least
  // one.
  std::vector<int64_t> integers(int64_t low, int64_t high, size_t size);

 private:
  __extension__ using U128 = unsigned __int128;
  uint64_t next64();
  uint32_t next32();
  uint32_t bounded(uint32_t max);  // in [0, max]

  U128 state_ = 0, increment_ = 0;
  uint32_t half_ = 0;  // upper half of the last word
  bool has_half_ = false;
};

class MersenneTwister {
 public:
  static MersenneTwister from_seed(uint32_t seed);                    // init_genrand
  static MersenneTwister from_key(const std::vector<uint32_t>& key);  // init_by_array
  uint32_t next32();
  double next_double();  // [0, 1), 53 bits

 private:
  static constexpr size_t kWords = 624;
  void refill();

  std::array<uint32_t, kWords> words_{};
  size_t next_ = kWords;
};

// numpy.random.RandomState(seed), which is also numpy.random itself after numpy.random.seed(seed).
class NumpyLegacy {
 public:
  explicit NumpyLegacy(uint32_t seed) : twister_(MersenneTwister::from_seed(seed)) {}

  double gamma(double shape, double scale);
  // randint(0, end): end from 1 to 2^32.
  int64_t integer(uint64_t end);
  // permutation(size).
  std::vector<int64_t> permutation(size_t size);

 private:
  double standard_exponential();
  double standard_normal();
  double standard_gamma(double shape);

  MersenneTwister twister_;
  double kept_normal_ = 0;
  bool has_normal_ = false;
};

// random.seed(seed) and what follows.
class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);

  template <class T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }
  // choices(range(size), k=1)[0]
  size_t choice(size_t size);

 private:
  size_t below(size_t end);  // randrange(end), end up to 2^32

  MersenneTwister twister_;
};

}  // namespace outrider::bench

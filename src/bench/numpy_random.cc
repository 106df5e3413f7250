#include "bench/numpy_random.h"

#include <bit>
#include <cassert>
#include <cmath>
#include <numeric>

namespace outrider::bench {
namespace {

// numpy's SeedSequence of one small integer: entropy into a pool of four words, the pool into the state.
class SeedSequence {
 public:
  explicit SeedSequence(uint64_t seed) {
    const std::array<uint32_t, 4> entropy = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                                             0, 0};
    uint32_t constant = 0x43b0d7e5;
    const auto hash = [&](uint32_t value) {
      value ^= constant;
      constant *= 0x931e8875;
      value *= constant;
      return value ^ value >> 16;
    };
    for (size_t i = 0; i < pool_.size(); ++i) pool_[i] = hash(entropy[i]);
    for (size_t source = 0; source < pool_.size(); ++source) {
      for (size_t target = 0; target < pool_.size(); ++target) {
        if (source == target) continue;
        const uint32_t mixed = 0xca01f9dd * pool_[target] - 0x4973f715 * hash(pool_[source]);
        pool_[target] = mixed ^ mixed >> 16;
      }
    }
  }

  std::array<uint64_t, 4> generate_state() const {
    std::array<uint64_t, 4> state{};
    uint32_t constant = 0x8b51f9dd;
    for (size_t i = 0; i < 8; ++i) {
      uint32_t value = pool_[i % pool_.size()] ^ constant;
      constant *= 0x58f38ded;
      value *= constant;
      value ^= value >> 16;
      state[i / 2] |= static_cast<uint64_t>(value) << (i % 2 * 32);
    }
    return state;
  }

 private:
  std::array<uint32_t, 4> pool_{};
};

}  // namespace

NumpyGenerator::NumpyGenerator(uint64_t seed) {
  const std::array<uint64_t, 4> words = SeedSequence(seed).generate_state();
  increment_ = (static_cast<U128>(words[2]) << 64 | words[3]) << 1 | 1;
  next64();
  state_ += static_cast<U128>(words[0]) << 64 | words[1];
  next64();
}

uint64_t NumpyGenerator::next64() {
  constexpr U128 kMultiplier = static_cast<U128>(0x2360ED051FC65DA4) << 64 | 0x4385DF649FCCF645;
  state_ = state_ * kMultiplier + increment_;
  const auto high = static_cast<uint64_t>(state_ >> 64);
  return std::rotr(high ^ static_cast<uint64_t>(state_), static_cast<int>(high >> 58));
}

uint32_t NumpyGenerator::next32() {
  if (has_half_) {
    has_half_ = false;
    return half_;
  }
  const uint64_t word = next64();
  has_half_ = true;
  half_ = static_cast<uint32_t>(word >> 32);
  return static_cast<uint32_t>(word);
}

uint32_t NumpyGenerator::bounded(uint32_t max) {
  if (max == UINT32_MAX) return next32();
  const uint32_t count = max + 1;
  uint64_t product = static_cast<uint64_t>(next32()) * count;
  if (static_cast<uint32_t>(product) < count) {
    const uint32_t threshold = (UINT32_MAX - max) % count;
    while (static_cast<uint32_t>(product) < threshold) product = static_cast<uint64_t>(next32()) * count;
  }
  return static_cast<uint32_t>(product >> 32);
}

std::vector<int64_t> NumpyGenerator::integers(int64_t low, int64_t high, size_t size) {
  assert(low < high && static_cast<uint64_t>(high - low) <= uint64_t{1} << 32);
  std::vector<int64_t> drawn(size, low);
  const auto max = static_cast<uint32_t>(high - low - 1);
  if (max == 0) return drawn;  // a constant takes nothing from the stream
  for (int64_t& number : drawn) number += bounded(max);
  return drawn;
}

MersenneTwister MersenneTwister::from_seed(uint32_t seed) {
  MersenneTwister twister;
  for (size_t i = 0; i < kWords; ++i) {
    twister.words_[i] = seed;
    seed = 1812433253u * (seed ^ seed >> 30) + static_cast<uint32_t>(i + 1);
  }
  return twister;
}

MersenneTwister MersenneTwister::from_key(const std::vector<uint32_t>& key) {
  MersenneTwister twister = from_seed(19650218u);
  auto& words = twister.words_;
  size_t i = 1, j = 0;
  const auto advance = [&] {
    if (++i < kWords) return;
    words[0] = words[kWords - 1];
    i = 1;
  };
  const auto previous = [&] { return words[i - 1] ^ words[i - 1] >> 30; };
  for (size_t k = std::max(kWords, key.size()); k > 0; --k) {
    words[i] = (words[i] ^ previous() * 1664525u) + key[j] + static_cast<uint32_t>(j);
    advance();
    j = (j + 1) % key.size();
  }
  for (size_t k = kWords - 1; k > 0; --k) {
    words[i] = (words[i] ^ previous() * 1566083941u) - static_cast<uint32_t>(i);
    advance();
  }
  words[0] = 0x80000000u;
  return twister;
}

void MersenneTwister::refill() {
  constexpr size_t kShift = 397;
  for (size_t i = 0; i < kWords; ++i) {
    const uint32_t joined = (words_[i] & 0x80000000u) | (words_[(i + 1) % kWords] & 0x7fffffffu);
    words_[i] = words_[(i + kShift) % kWords] ^ joined >> 1 ^ ((joined & 1) != 0 ? 0x9908b0dfu : 0);
  }
  next_ = 0;
}

uint32_t MersenneTwister::next32() {
  if (next_ == kWords) refill();
  uint32_t word = words_[next_++];
  word ^= word >> 11;
  word ^= word << 7 & 0x9d2c5680u;
  word ^= word << 15 & 0xefc60000u;
  return word ^ word >> 18;
}

double MersenneTwister::next_double() {
  const uint32_t high = next32() >> 5, low = next32() >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

double NumpyLegacy::standard_exponential() { return -std::log(1.0 - twister_.next_double()); }

// Marsaglia's polar method; of each pair the second comes first.
double NumpyLegacy::standard_normal() {
  if (has_normal_) {
    has_normal_ = false;
    return kept_normal_;
  }
  double x1, x2, radius;
  do {
    x1 = 2.0 * twister_.next_double() - 1.0;
    x2 = 2.0 * twister_.next_double() - 1.0;
    radius = x1 * x1 + x2 * x2;
  } while (radius >= 1.0 || radius == 0.0);
  const double factor = std::sqrt(-2.0 * std::log(radius) / radius);
  kept_normal_ = factor * x1;
  has_normal_ = true;
  return factor * x2;
}

double NumpyLegacy::standard_gamma(double shape) {
  if (shape == 1.0) return standard_exponential();
  if (shape < 1.0) {
    while (true) {
      const double u = twister_.next_double();
      const double v = standard_exponential();
      if (u <= 1.0 - shape) {
        const double x = std::pow(u, 1.0 / shape);
        if (x <= v) return x;
      } else {
        const double y = -std::log((1 - u) / shape);
        const double x = std::pow(1.0 - shape + shape * y, 1.0 / shape);
        if (x <= v + y) return x;
      }
    }
  }
  const double b = shape - 1.0 / 3.0, c = 1.0 / std::sqrt(9 * b);
  while (true) {
    double x, v;
    do {
      x = standard_normal();
      v = 1.0 + c * x;
    } while (v <= 0.0);
    v = v * v * v;
    const double u = twister_.next_double();
    if (u < 1.0 - 0.0331 * (x * x) * (x * x)) return b * v;
    if (std::log(u) < 0.5 * x * x + b * (1.0 - v + std::log(v))) return b * v;
  }
}

double NumpyLegacy::gamma(double shape, double scale) { return scale * standard_gamma(shape); }

int64_t NumpyLegacy::integer(uint64_t end) {
  assert(end >= 1 && end <= uint64_t{1} << 32);
  const auto max = static_cast<uint32_t>(end - 1);
  if (max == 0) return 0;
  const uint32_t mask = std::bit_width(max) == 32 ? UINT32_MAX : (1u << std::bit_width(max)) - 1;
  while (true) {
    const uint32_t value = twister_.next32() & mask;
    if (value <= max) return value;
  }
}

std::vector<int64_t> NumpyLegacy::permutation(size_t size) {
  std::vector<int64_t> order(size);
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = size; i > 1; --i) std::swap(order[i - 1], order[static_cast<size_t>(integer(i))]);
  return order;
}

PythonRandom::PythonRandom(uint64_t seed)
    : twister_(MersenneTwister::from_key(
          seed >> 32 == 0
              ? std::vector<uint32_t>{static_cast<uint32_t>(seed)}
              : std::vector<uint32_t>{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)})) {}

size_t PythonRandom::below(size_t end) {
  const int bits = std::bit_width(end);
  assert(end > 0 && bits <= 32);
  while (true) {
    const uint32_t value = twister_.next32() >> (32 - bits);
    if (value < end) return value;
  }
}

size_t PythonRandom::choice(size_t size) {
  return static_cast<size_t>(twister_.next_double() * static_cast<double>(size));
}

}  // namespace outrider::bench

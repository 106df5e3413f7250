// Eight bytes a thread. Floor: writing the bytes once.
#include <algorithm>

#include "cuda/device.h"
#include "cuda/generate.h"

namespace outrider::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) generate_kernel(model::Fill fill, float amplitude, uint64_t key,
                                                            int64_t place, int64_t words, uint64_t* to) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < words;
       i += int64_t{gridDim.x} * kThreads) {
    to[i] =
        model::generated_word(fill, amplitude, model::random_word(key, static_cast<uint64_t>(place + 8 * i)));
  }
}

}  // namespace

void generate(const model::GeneratedWeights& weights, const std::byte* from, int64_t bytes, uint8_t* to,
              cudaStream_t stream) {
  const int64_t place = from - weights.base;
  const auto after =
      std::upper_bound(weights.regions.begin(), weights.regions.end(), place,
                       [](int64_t at, const model::GeneratedRegion& r) { return at < r.offset; });
  const model::GeneratedRegion& region = *std::prev(after);
  const int64_t words = bytes / 8;
  const auto blocks = static_cast<unsigned>(std::min<int64_t>((words + kThreads - 1) / kThreads, 132 * 16));
  generate_kernel<<<blocks, kThreads, 0, stream>>>(region.fill, region.amplitude, weights.key, place, words,
                                                   reinterpret_cast<uint64_t*>(to));
  check(cudaGetLastError(), "generate");
}

}  // namespace outrider::cuda

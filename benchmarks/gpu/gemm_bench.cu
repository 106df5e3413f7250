// Times the matrix products of Scout's layers: medians of CUDA-graph replays, each launch of a graph on
// weights of its own, so that nothing but the activations is found in the L2 cache.
//
//   bench_gemm [rows...]
//
// Floor: the weights (of the experts that have tokens) once at 4.55 TB/s, or the operations at 1500 TFLOP/s
// (FP8) or 790 (bf16), whichever is longer.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <vector>

#include "cuda/device.h"
#include "cuda/gemm.h"
#include "cuda/launch.cuh"
#include "replays.h"
#include "scattered.cuh"

namespace outrider::cuda {
namespace {

constexpr double kBandwidth = 4.55e12;
constexpr int64_t kWeightBytes = int64_t{6} << 30;

struct Shape {
  const char* name;
  ElementType type;
  OutputType output;
  int groups, features, k;
  bool mixed = false;  // group 0 takes every row beside its expert
};
constexpr Shape kShapes[] = {
    {"qkv", ElementType::kFp8, OutputType::kBf16, 1, 7168, 5120},
    {"o_proj", ElementType::kFp8, OutputType::kBf16, 1, 5120, 5120},
    {"shared gate_up", ElementType::kFp8, OutputType::kBf16, 1, 16384, 5120},
    {"shared down", ElementType::kFp8, OutputType::kBf16, 1, 5120, 8192},
    {"experts gate_up", ElementType::kFp8, OutputType::kBf16, 16, 16384, 5120},
    {"experts down", ElementType::kFp8, OutputType::kBf16, 16, 5120, 8192},
    {"all gate_up", ElementType::kFp8, OutputType::kBf16, 17, 16384, 5120, true},
    {"all down", ElementType::kFp8, OutputType::kBf16, 17, 5120, 8192, true},
    {"lm_head", ElementType::kBf16, OutputType::kF32, 1, 202048, 5120},
};

__global__ void fill(uint32_t* to, int64_t words, uint32_t pattern_and, uint32_t pattern_or) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < words;
       i += int64_t{gridDim.x} * blockDim.x) {
    const uint32_t x = scattered(i);
    to[i] = (x & pattern_and) | pattern_or;
  }
}

void time_shape(const Shape& s, int tokens, const DeviceBuffer& weights, const DeviceBuffer& x,
                const DeviceBuffer& y, cudaStream_t stream) {
  std::mt19937 random(tokens);
  std::vector<int32_t> begin(s.groups + 1, 0);
  const int first_expert = s.mixed ? 1 : 0;
  if (s.mixed) begin[1] = tokens;
  for (int t = 0; t < tokens; ++t) ++begin[1 + first_expert + random() % (s.groups - first_expert)];
  const int active =
      static_cast<int>(std::count_if(begin.begin() + 1, begin.end(), [](int n) { return n > 0; }));
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  DeviceBuffer device_begin(begin.size() * sizeof(int32_t));
  check(cudaMemcpy(device_begin.as<int32_t>(), begin.data(), device_begin.bytes(), cudaMemcpyHostToDevice),
        "copy");

  const int64_t element = s.type == ElementType::kFp8 ? 1 : 2;
  const int64_t bytes = int64_t{s.groups} * s.features * s.k * element;
  const int copies = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(16, kWeightBytes / bytes)));
  std::vector<GemmWeights> w;
  for (int i = 0; i < copies; ++i) {
    w.push_back(
        make_gemm_weights(s.type, weights.as<uint8_t>() + i * bytes, s.groups, s.features, s.k, nullptr));
  }
  const int rows = s.mixed ? 2 * tokens : tokens;  // of x and y
  const GemmInput input = make_gemm_input(s.type, x.as<void>(), std::max(rows, 128), s.k);
  const int expected = s.mixed ? tokens : (s.groups > 1 ? 2 : 1) * ((tokens + s.groups - 1) / s.groups);
  const int launches = copies * (copies < 4 ? 4 : 1);
  DeviceBuffer totals(SplitTotals::bytes());
  const SplitTotals split = SplitTotals::in(totals.as<void>());
  const double us = median_us(stream, launches, [&](int i) {
    gemm({.w = &w[i % copies],
          .x = &input,
          .y = y.as<void>(),
          .output = s.output,
          .token_begin = device_begin.as<int32_t>(),
          .tokens_a_group = expected,
          .split = split,
          .first_takes_all = s.mixed},
         132, stream);
  });
  const double operations = 2.0 * rows * s.features * s.k;
  const double floor = std::max(static_cast<double>(bytes) * active / s.groups / kBandwidth,
                                operations / (s.type == ElementType::kFp8 ? 1500e12 : 790e12)) *
                       1e6;
  std::printf("%-16s %6d rows %9.1f us  floor %9.1f  ratio %.2f  %3d groups %6.2f TB/s %6.0f TFLOP/s\n",
              s.name, tokens, us, floor, us / floor, active,
              static_cast<double>(bytes) * active / s.groups / us / 1e6, operations / us / 1e6);
  std::fflush(stdout);
}

}  // namespace

int bench_gemm(const std::vector<int>& rows) {
  prepare_gemm();
  Stream stream;
  DeviceBuffer weights(kWeightBytes), x(size_t{8192} * 8192 * 2), y(size_t{2} * 8192 * 16384 * 2);
  fill<<<2048, 256, 0, stream>>>(weights.as<uint32_t>(), kWeightBytes / 4, 0xbfbfbfbfu, 0);
  fill<<<2048, 256, 0, stream>>>(x.as<uint32_t>(), static_cast<int64_t>(x.bytes() / 4), 0xbfbfbfbfu, 0);
  for (const Shape& s : kShapes) {
    for (int tokens : rows) {
      if (s.output == OutputType::kF32 && tokens > 256) continue;  // y holds no more
      if (s.mixed && tokens <= kFewTokens) continue;               // they have a form of their own
      time_shape(s, tokens, weights, x, y, stream);
    }
  }
  return 0;
}

}  // namespace outrider::cuda

int main(int argc, char** argv) {
  std::vector<int> rows;
  for (int i = 1; i < argc; ++i) rows.push_back(std::clamp(std::atoi(argv[i]), 1, 8192));
  if (rows.empty()) rows = {1, 8, 64, 256, 512, 1024, 2048, 8192};
  return outrider::cuda::bench_gemm(rows);
}

// Times the sampler on Scout's vocabulary: medians of runs that follow one another on one stream, with normal
// logits of several spreads (random weights give about 1, a trained model's are spiky).
//
//   bench_sampler
//
// Floor: the logits once at the rate that a plain read kernel reaches here. Fewer rows than about 60 stay in
// the L2 cache from run to run, as they do behind the lm_head that has just written them.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <vector>

#include "cuda/sampler.h"

namespace outrider::cuda {
namespace {

constexpr int kVocab = 202048;
constexpr int kMaxRows = 512;
constexpr int kRuns = 8, kReplays = 9;

struct Case {
  const char* name;
  float spread;
  std::function<void(sampling::SamplingParams&)> set;
};

std::vector<Case> cases() {
  using Params = sampling::SamplingParams;
  auto defaults = [](Params& p) {
    p.temperature = 0.6;
    p.top_p = 0.9;
  };
  return {{"greedy", 1.0f, [](Params& p) { p.temperature = 0.0; }},
          {"temperature 0.6", 1.0f, [](Params& p) { p.temperature = 0.6; }},
          {"temperature 0.6, top-p 0.9, spread 0.3", 0.3f, defaults},
          {"temperature 0.6, top-p 0.9, spread 1", 1.0f, defaults},
          {"temperature 0.6, top-p 0.9, spread 4", 4.0f, defaults},
          {"top-k 40", 1.0f, [](Params& p) { p.top_k = 40; }},
          {"min-p 0.05", 1.0f, [](Params& p) { p.min_p = 0.05; }},
          {"top-p 0.9, repetition 1.1", 1.0f,
           [=](Params& p) {
             defaults(p);
             p.repetition_penalty = 1.1;
           }},
          {"top-p 0.9, logprobs 20", 1.0f, [=](Params& p) {
             defaults(p);
             p.logprobs = 20;
           }}};
}

// Box and Muller over a hash of the place.
__global__ void fill_normal(float* to, int64_t count, float spread) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint64_t x = (static_cast<uint64_t>(i) + 1) * 0x9E3779B97F4A7C15u;
    x ^= x >> 31;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 29;
    const float u = (static_cast<float>(static_cast<uint32_t>(x) >> 8) + 1.0f) * 0x1p-24f;
    const float v = static_cast<float>(static_cast<uint32_t>(x >> 32)) * 0x1p-32f;
    to[i] = spread * sqrtf(-2.0f * logf(u)) * cospif(2.0f * v);
  }
}

__global__ void read_all(const float4* from, int64_t count, float* sink) {
  float sum = 0.0f;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const float4 x = __ldcs(from + i);
    sum += x.x + x.y + x.z + x.w;
  }
  if (sum == 1e30f) *sink = sum;
}

// Microseconds of one call, many enqueued at once.
double time_us(cudaStream_t stream, const std::function<void()>& enqueue) {
  cudaEvent_t start = nullptr, stop = nullptr;
  check(cudaEventCreate(&start), "event");
  check(cudaEventCreate(&stop), "event");
  std::vector<float> ms(kReplays);
  for (float& t : ms) {
    check(cudaEventRecord(start, stream), "event");
    for (int i = 0; i < kRuns; ++i) enqueue();
    check(cudaEventRecord(stop, stream), "event");
    check(cudaStreamSynchronize(stream), "run");
    check(cudaEventElapsedTime(&t, start, stop), "event");
  }
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  std::sort(ms.begin(), ms.end());
  return ms[kReplays / 2] * 1e3 / kRuns;
}

void time_case(const Case& c, Sampler& sampler, SampleResults& results, const DeviceBuffer& logits,
               double read_us, cudaStream_t stream) {
  fill_normal<<<2048, 256, 0, stream>>>(logits.as<float>(), int64_t{kMaxRows} * kVocab, c.spread);
  std::vector<SampleRow> rows;
  for (int slot = 0; slot < kMaxRows; ++slot) {
    sampling::SamplingParams params;
    params.seed = slot;
    c.set(params);
    std::vector<int32_t> prompt(1024);
    for (int i = 0; i < 1024; ++i) prompt[i] = (slot * 7919 + i * 193) % kVocab;
    sampler.bind({slot, std::make_shared<sampling::SamplingParams>(params), prompt, {}}, stream);
    rows.push_back({.slot = slot, .sample = true, .output_index = 0, .prompt_token = 0});
  }
  sampler.commit_bindings(stream);
  for (int count : {1, 8, 64, 256, 512}) {
    const double us = time_us(stream, [&] {
      sampler.run(logits.as<float>(), std::span(rows).first(count), nullptr, results, stream);
    });
    const double floor = read_us * count / kMaxRows;
    std::printf("%-40s %6d rows %9.1f us  floor %7.1f  ratio %.2f\n", c.name, count, us, floor, us / floor);
  }
  std::fflush(stdout);
}

}  // namespace

int bench_sampler() {
  const SamplerShape shape = {.max_slots = kMaxRows,
                              .max_rows = kMaxRows,
                              .vocab = kVocab,
                              .valid_vocab = kVocab,
                              .max_model_len = 131072};
  Stream stream;
  Sampler sampler(shape);
  SampleResults results(shape);
  DeviceBuffer logits(sizeof(float) * kVocab * kMaxRows);
  const double read_us = time_us(stream, [&] {
    read_all<<<132 * 16, 512, 0, stream>>>(logits.as<float4>(), int64_t{kMaxRows} * kVocab / 4,
                                           logits.as<float>());
  });
  std::printf("plain read of %d rows: %.1f us, %.2f TB/s\n", kMaxRows, read_us,
              logits.bytes() / read_us / 1e6);
  for (const Case& c : cases()) time_case(c, sampler, results, logits, read_us, stream);
  return 0;
}

}  // namespace outrider::cuda

int main() { return outrider::cuda::bench_sampler(); }

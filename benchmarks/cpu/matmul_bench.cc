// Products of one core by thread CPU time: GB/s of packed weights and GFLOP/s, the best of several rounds.
// `bench_matmul [target]`: one of Highway's targets (AVX2, AVX3); all that the machine has without it.
// A small matrix stays in L2, so that its figures are those of the instructions; the large one adds memory.
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "cpu/matmul.h"
#include "cpu/simd_targets.h"
// After the list of targets.
#include <hwy/targets.h>

namespace outrider {
namespace {

constexpr int kRounds = 7;
constexpr double kRoundSeconds = 0.02;

double thread_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Shape {
  int rows, cols;
};

model::Matrix random_weights(model::WeightFormat format, const Shape& shape, std::vector<uint8_t>& codes,
                             std::vector<uint8_t>& scales) {
  std::mt19937 random(1);
  codes.resize(size_t{2} * shape.rows * shape.cols);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % 0x7f);
  scales.assign(size_t(shape.rows) * shape.cols / 16, 0x38);
  model::Matrix m;
  m.format = format;
  m.layout = model::Layout::kRowMajor;
  m.rows = shape.rows;
  m.cols = shape.cols;
  m.stride = shape.cols;
  m.block_scale_stride = shape.cols / 16;
  m.data = codes.data();
  m.block_scales = format == model::WeightFormat::kNvfp4 ? scales.data() : nullptr;
  return m;
}

void measure(const char* name, model::WeightFormat format, const Shape& shape, cpu::ThreadPool& pool) {
  std::vector<uint8_t> codes, scales;
  const model::Matrix from = random_weights(format, shape, codes, scales);
  cpu::WeightPacker packer;
  cpu::PackedMatrix packed;
  packer.add(from, packed);
  packer.pack_all(pool);
  cpu::Matmul matmul(pool);
  for (const int m : {1, 2, 4, 8, 16, 64, 256}) {
    std::vector<float> x(size_t(m) * shape.cols, 0.5f), y(size_t(m) * shape.rows);
    const std::array job{cpu::MatmulJob{&packed, x.data(), y.data(), m, 1.0f}};
    matmul(job);
    double best = 1e9;
    for (int round = 0; round < kRounds; ++round) {
      const double begin = thread_seconds();
      int count = 0;
      do {
        matmul(job);
        ++count;
      } while (thread_seconds() - begin < kRoundSeconds);
      best = std::min(best, (thread_seconds() - begin) / count);
    }
    const double bytes = static_cast<double>(packed.word_bytes() + packed.scale_bytes());
    std::printf("%-8s %-6s %5dx%-5d m %3d  %6.1f GB/s  %6.1f GFLOP/s\n",
                hwy::TargetName(hwy::SupportedTargets() & -hwy::SupportedTargets()), name, shape.rows,
                shape.cols, m, bytes / best * 1e-9, 2e-9 * m * shape.rows * shape.cols / best);
  }
}

}  // namespace
}  // namespace outrider

int main(int argc, char** argv) {
  outrider::cpu::ThreadPool pool(1);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if (argc > 1 && std::strcmp(argv[1], hwy::TargetName(target)) != 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    for (const outrider::Shape shape : {outrider::Shape{256, 1024}, outrider::Shape{8192, 5120}}) {
      outrider::measure("bf16", outrider::model::WeightFormat::kBf16, shape, pool);
      outrider::measure("fp8", outrider::model::WeightFormat::kFp8, shape, pool);
      outrider::measure("nvfp4", outrider::model::WeightFormat::kNvfp4, shape, pool);
    }
  }
  return 0;
}

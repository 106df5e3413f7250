#include "cpu/matmul.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>

#include "cpu/all_targets.h"
#include "cpu/random_matrix.h"
#include "ops/matmul_cases.h"

namespace outrider::test {
namespace {

using cpu::Matmul;
using cpu::MatmulJob;
using cpu::PackedMatrix;
using cpu::ThreadPool;
using cpu::WeightPacker;

struct Packed {
  Packed(const model::Matrix& m, ThreadPool& pool) {
    packer.add(m, matrix);
    packer.pack_all(pool);
  }
  WeightPacker packer;
  PackedMatrix matrix;
};

TEST(Matmul, EveryCaseIsWithinItsBoundOfTheExactProductOnEveryTarget) {
  ThreadPool pool(2);
  Matmul matmul(pool);
  std::mt19937 random(1);
  for (const MatmulCase& c : matmul_cases()) {
    SCOPED_TRACE(testing::Message() << "format " << int(c.format) << " layout " << int(c.layout) << " m "
                                    << c.m << " rows " << c.rows << " cols " << c.cols);
    const RandomMatrix w = random_matrix(c.format, c.layout, c.rows, c.cols, random);
    const Packed packed(w.view, pool);
    const std::vector<float> x = random_floats(size_t(c.m) * c.cols, random);
    std::vector<double> expected(size_t(c.m) * c.rows), bound(expected.size());
    for (int i = 0; i < c.m; ++i) {
      for (int r = 0; r < c.rows; ++r) {
        double sum = 0, magnitude = 0;
        for (int k = 0; k < c.cols; ++k) {
          const double product = double{x[size_t(i) * c.cols + k]} * w.values[size_t(r) * c.cols + k];
          sum += product;
          magnitude += std::fabs(product);
        }
        expected[size_t(i) * c.rows + r] = sum * 0.5;
        bound[size_t(i) * c.rows + r] = matmul_bound(c, magnitude * 0.5);
      }
    }
    for_each_target([&] {
      std::vector<float> y(expected.size() + 16, 7.0f);
      matmul(std::array{MatmulJob{&packed.matrix, x.data(), y.data(), c.m, 0.5f}});
      for (size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(y[i], expected[i], bound[i]) << "element " << i;
      for (size_t i = expected.size(); i < y.size(); ++i) ASSERT_EQ(y[i], 7.0f) << "written past the end";
    });
  }
}

TEST(Matmul, ARowsResultHasTheSameBitsInEveryBatchAndWithEveryNumberOfThreads) {
  ThreadPool one(1), two(2);
  Matmul on_one(one), on_two(two);
  std::mt19937 random(2);
  for (auto format : {model::WeightFormat::kBf16, model::WeightFormat::kFp8, model::WeightFormat::kNvfp4}) {
    const RandomMatrix w = random_matrix(format, model::Layout::kRowMajor, 150, 528, random);
    const Packed packed(w.view, one);
    constexpr int kMax = 40;
    const std::vector<float> x = random_floats(size_t(kMax) * 528, random);
    for_each_target([&] {
      std::vector<float> all(kMax * 150), some(kMax * 150);
      on_one(std::array{MatmulJob{&packed.matrix, x.data(), all.data(), kMax, 1.0f}});
      for (int m = 1; m <= kMax; ++m) {
        const int first = (kMax - m) / 2;
        on_two(std::array{MatmulJob{&packed.matrix, x.data() + first * 528, some.data(), m, 1.0f}});
        ASSERT_EQ(std::memcmp(some.data(), all.data() + first * 150, size_t(m) * 150 * 4), 0) << "m = " << m;
      }
    });
  }
}

TEST(Matmul, AMatrixPackedForOneUseOnlyGivesTheBitsOfThePackedOne) {
  ThreadPool pool(2);
  Matmul matmul(pool);
  std::mt19937 random(4);
  for (auto format : {model::WeightFormat::kBf16, model::WeightFormat::kFp8, model::WeightFormat::kNvfp4}) {
    for (auto layout : {model::Layout::kRowMajor, model::Layout::kColMajor}) {
      const RandomMatrix w = random_matrix(format, layout, 1205, 80, random);  // the last panel has 5 rows
      const Packed packed(w.view, pool);
      WeightPacker packer;
      PackedMatrix unwritten;
      packer.add(w.view, unwritten);
      packer.allocate();
      const std::vector<float> x = random_floats(9 * 80, random);
      for (int m : {1, 9}) {
        std::vector<float> expected(size_t(m) * 1205), y(expected.size());
        matmul(std::array{MatmulJob{&packed.matrix, x.data(), expected.data(), m, 1.0f}});
        matmul(std::array{MatmulJob{&unwritten, x.data(), y.data(), m, 1.0f, &w.view}});
        ASSERT_EQ(std::memcmp(y.data(), expected.data(), y.size() * 4), 0);
      }
    }
  }
}

TEST(Matmul, SeveralJobsWithEmptyOnesAmongThemAreAllDone) {
  ThreadPool pool(2);
  Matmul matmul(pool);
  std::mt19937 random(3);
  const RandomMatrix w = random_matrix(model::WeightFormat::kFp8, model::Layout::kRowMajor, 64, 64, random);
  const Packed packed(w.view, pool);
  const std::vector<float> x = random_floats(9 * 64, random);
  std::vector<float> a(9 * 64), b(9 * 64), c(9 * 64, 5.0f);
  matmul(std::array{MatmulJob{&packed.matrix, x.data(), a.data(), 9, 1.0f},
                    MatmulJob{&packed.matrix, x.data(), c.data(), 0, 1.0f},
                    MatmulJob{&packed.matrix, x.data(), b.data(), 9, 2.0f}});
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(2 * a[i], b[i]);
    EXPECT_EQ(c[i], 5.0f);
  }
}

}  // namespace
}  // namespace outrider::test

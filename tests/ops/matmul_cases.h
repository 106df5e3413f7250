// y[m, rows] = x[m, cols] W[rows, cols]^T, W in every weight format and file layout.
#pragma once

#include <cmath>
#include <vector>

#include "model/weights.h"

namespace outrider::test {

struct MatmulCase {
  model::WeightFormat format;
  model::Layout layout;
  int m, rows, cols;
};

// |y - reference| for one output element, given sum |x * w|. NVFP4 and FP8 weights are exact in fp32: no
// other error.
inline double matmul_bound(const MatmulCase& c, double sum_of_magnitudes) {
  return (std::sqrt(static_cast<double>(c.cols)) + 4.0) * 0x1p-24 * sum_of_magnitudes;
}

inline std::vector<MatmulCase> matmul_cases() {
  using model::Layout;
  using model::WeightFormat;
  std::vector<MatmulCase> cases;
  for (WeightFormat format : {WeightFormat::kBf16, WeightFormat::kFp8, WeightFormat::kNvfp4}) {
    for (Layout layout : {Layout::kRowMajor, Layout::kColMajor}) {
      // Row counts around every tile edge; outputs that do not fill a panel; one and several column blocks.
      for (int m : {1, 2, 3, 4, 5, 11, 12, 13, 29}) cases.push_back({format, layout, m, 40, 48});
      for (int rows : {1, 4, 16, 17, 130}) cases.push_back({format, layout, 7, rows, 64});
      for (int m : {1, 6}) {
        for (int cols : {16, 256, 272, 1040}) cases.push_back({format, layout, m, 33, cols});
      }
      // More than one block of x rows, the last one full or with a few rows.
      for (int m : {256, 257, 260, 300, 513}) cases.push_back({format, layout, m, 48, 272});
      cases.push_back({format, layout, 1, 2048, 512});  // many panels
    }
  }
  return cases;
}

}  // namespace outrider::test

// Random weights in each format and layout, with their exact values.
#pragma once

#include <random>
#include <vector>

#include "cpu/number_formats.h"
#include "model/weights.h"

namespace outrider::test {

struct RandomMatrix {
  model::Matrix view;
  std::vector<double> values;  // [rows, cols], without weight_scale
  std::vector<uint8_t> bytes, scales;
};

inline RandomMatrix random_matrix(model::WeightFormat format, model::Layout layout, int rows, int cols,
                                  std::mt19937& random) {
  using model::Layout;
  using model::WeightFormat;
  RandomMatrix m;
  const bool row_major = layout == Layout::kRowMajor;
  m.values.resize(size_t(rows) * cols);
  m.view.format = format;
  m.view.layout = layout;
  m.view.rows = rows;
  m.view.cols = cols;
  // A stride larger than the row, as a half of a fused matrix has.
  m.view.stride = row_major ? cols + 32 : rows + 5;
  m.view.block_scale_stride = row_major ? cols / 16 + 3 : rows + 7;
  m.bytes.assign(size_t(m.view.stride) * (row_major ? rows : cols) * 2, 0xff);
  m.scales.resize(size_t(m.view.block_scale_stride) * (row_major ? rows : cols / 16));
  for (uint8_t& s : m.scales) s = static_cast<uint8_t>(random() % 0x7f);
  auto* halves = reinterpret_cast<uint16_t*>(m.bytes.data());
  std::normal_distribution<float> normal;
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < cols; ++c) {
      double& value = m.values[size_t(r) * cols + c];
      const int64_t at = row_major ? r * m.view.stride + c : c * m.view.stride + r;
      if (format == WeightFormat::kBf16) {
        halves[at] = cpu::float_to_bf16(normal(random));
        value = cpu::bf16_to_float(halves[at]);
      } else if (format == WeightFormat::kFp8) {
        m.bytes[at] = static_cast<uint8_t>(random() % 0x7f) | (random() & 0x80);
        value = cpu::e4m3_to_float(m.bytes[at]);
      } else {
        const auto code = static_cast<uint8_t>(random() % 16);
        const int64_t byte = row_major ? at / 2 : int64_t{c / 2} * m.view.stride + r;
        const int shift = c % 2 * 4;
        m.bytes[byte] = static_cast<uint8_t>((m.bytes[byte] & ~(15 << shift)) | (code << shift));
        const uint8_t scale = row_major ? m.scales[r * m.view.block_scale_stride + c / 16]
                                        : m.scales[c / 16 * m.view.block_scale_stride + r];
        value = double{cpu::e2m1_to_float(code)} * cpu::e4m3_to_float(scale);
      }
    }
  }
  m.view.data = m.bytes.data();
  m.view.block_scales = format == WeightFormat::kNvfp4 ? m.scales.data() : nullptr;
  return m;
}

inline std::vector<float> random_floats(size_t n, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> out(n);
  for (float& x : out) x = normal(random);
  return out;
}

}  // namespace outrider::test

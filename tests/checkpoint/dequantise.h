// A slow, plain dequantiser to compare layouts with, independent of the loader's and the runners' code paths.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "model/weights.h"

namespace outrider::checkpoint {

inline float bf16_to_float(uint16_t code) { return std::bit_cast<float>(uint32_t{code} << 16); }

inline float e4m3_to_float(uint8_t code) {
  const int exponent = (code >> 3) & 15;
  const int mantissa = code & 7;
  const float magnitude =
      exponent == 0 ? std::ldexp(mantissa / 8.0f, -6) : std::ldexp(1.0f + mantissa / 8.0f, exponent - 7);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

inline float e2m1_to_float(int nibble) {
  constexpr float kMagnitudes[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  return (nibble & 8) != 0 ? -kMagnitudes[nibble & 7] : kMagnitudes[nibble & 7];
}

inline float element(const model::Matrix& m, int64_t row, int64_t col) {
  const bool row_major = m.layout == model::Layout::kRowMajor;
  const int64_t at = row_major ? row * m.stride + col : col * m.stride + row;
  const auto* bytes = static_cast<const uint8_t*>(m.data);
  switch (m.format) {
    case model::WeightFormat::kBf16:
      return bf16_to_float(static_cast<const uint16_t*>(m.data)[at]);
    case model::WeightFormat::kFp8:
      return e4m3_to_float(bytes[at]) * m.weight_scale;
    case model::WeightFormat::kNvfp4: {
      const uint8_t byte = row_major ? bytes[(row * m.stride + col) / 2] : bytes[(col / 2) * m.stride + row];
      const int64_t block =
          row_major ? row * m.block_scale_stride + col / 16 : (col / 16) * m.block_scale_stride + row;
      return e2m1_to_float(col % 2 == 0 ? byte & 15 : byte >> 4) * e4m3_to_float(m.block_scales[block]) *
             m.weight_scale;
    }
  }
  return 0.0f;
}

inline std::vector<float> dequantise(const model::Matrix& m) {
  std::vector<float> values;
  values.reserve(static_cast<size_t>(m.rows) * m.cols);
  for (int64_t row = 0; row < m.rows; ++row)
    for (int64_t col = 0; col < m.cols; ++col) values.push_back(element(m, row, col));
  return values;
}

// Every matrix of a model, in one order for all dialects.
inline std::vector<const model::Matrix*> all_matrices(const model::Weights& weights) {
  std::vector<const model::Matrix*> all = {&weights.embed, &weights.lm_head};
  const auto add_mlp = [&all](const model::Mlp& mlp) {
    all.insert(all.end(), {&mlp.gate, &mlp.up, &mlp.down});
  };
  for (const model::Layer& layer : weights.layers) {
    all.insert(all.end(), {&layer.q, &layer.k, &layer.v, &layer.o});
    if (!layer.router.empty()) all.push_back(&layer.router);
    if (!layer.shared_expert.gate.empty()) add_mlp(layer.shared_expert);
    if (!layer.dense.gate.empty()) add_mlp(layer.dense);
    for (const model::Mlp& expert : layer.experts) add_mlp(expert);
  }
  return all;
}

}  // namespace outrider::checkpoint

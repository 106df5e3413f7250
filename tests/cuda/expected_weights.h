// Where every element of a model must lie on the device, said once more and without the product's help.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "cuda/device_weights.h"

namespace outrider::cuda {

// Copies bytes of the place under test to the host.
using Fetch = void (*)(void* to, const void* from, size_t bytes);

// Element (row, col) of a matrix in host memory.
inline uint16_t element(const model::Matrix& m, int row, int col) {
  const int64_t at = m.layout == model::Layout::kRowMajor ? row * m.stride + col : col * m.stride + row;
  if (m.format == model::WeightFormat::kFp8) return static_cast<const uint8_t*>(m.data)[at];
  return static_cast<const uint16_t*>(m.data)[at];
}

enum class Order { kRows, kImage };

// Byte of the first of an element's in a matrix of so many columns. In an image each 64 rows by 128 bytes are
// 8 KB in one piece, 128 a row, whose 16-byte parts change places by the row.
inline size_t place_of(Order order, int row, int col, int cols, size_t bytes) {
  const size_t byte = col * bytes, row_bytes = cols * bytes;
  if (order == Order::kRows) return row * row_bytes + byte;
  const size_t block = row / 64 * (row_bytes / 128) + byte / 128;
  return block * 8192 + row % 64 * 128 + ((byte % 128) ^ (row % 8 * 16));
}

class ExpectedWeights {
 public:
  explicit ExpectedWeights(Fetch fetch) : fetch_(fetch) {}

  // The first matrix lies at the start of the allocation; the others follow in the order of upload(), 1024
  // bytes aligned.
  void expect(const model::Model& host, const DeviceWeights& device) const {
    expect_rows({&host.weights.embed}, device.embed, Order::kRows);
    expect_vector(host.weights.final_norm, device.final_norm, host.config.hidden_size);
    expect_rows({&host.weights.lm_head}, device.lm_head.w.data);
    for (size_t l = 0; l < device.layers.size(); ++l) {
      const model::Layer& from = host.weights.layers[l];
      const DeviceLayer& to = device.layers[l];
      expect_vector(from.input_norm, to.input_norm, host.config.hidden_size);
      expect_vector(from.post_attention_norm, to.post_attention_norm, host.config.hidden_size);
      expect_rows({&from.q, &from.k, &from.v}, to.qkv.w.data);
      expect_rows({&from.o}, to.o.w.data);
      if (from.experts.empty()) {
        expect_gated({&from.dense}, to.dense.gate_up.w.data);
        expect_rows({&from.dense.down}, to.dense.down.w.data);
        continue;
      }
      expect_rows({&from.router}, to.router, Order::kRows);
      expect_gated({&from.shared_expert}, to.shared_expert.gate_up.w.data);
      expect_rows({&from.shared_expert.down}, to.shared_expert.down.w.data);
      std::vector<const model::Mlp*> experts;
      std::vector<const model::Matrix*> down;
      for (const model::Mlp& expert : from.experts) {
        experts.push_back(&expert);
        down.push_back(&expert.down);
      }
      expect_gated(experts, to.experts.gate_up.w.data);
      expect_rows(down, to.experts.down.w.data);
    }
  }

 private:
  void expect_vector(const uint16_t* from, const void* device, int n) const {
    std::vector<uint16_t> copy(n);
    fetch_(copy.data(), device, 2 * copy.size());
    EXPECT_EQ(0, std::memcmp(copy.data(), from, 2 * copy.size()));
  }

  // `parts` lie one below the other.
  void expect_rows(const std::vector<const model::Matrix*>& parts, const void* device,
                   Order order = Order::kImage) const {
    const auto* from = static_cast<const uint8_t*>(device);
    for (const model::Matrix* m : parts) {
      const size_t bytes = m->format == model::WeightFormat::kFp8 ? 1 : 2;
      std::vector<uint8_t> copy(static_cast<size_t>(m->rows) * m->cols * bytes);
      fetch_(copy.data(), from, copy.size());
      int64_t wrong = 0;
      for (int r = 0; r < m->rows; ++r) {
        for (int c = 0; c < m->cols; ++c) {
          uint16_t got = 0;
          std::memcpy(&got, copy.data() + place_of(order, r, c, m->cols, bytes), bytes);
          wrong += got != element(*m, r, c);
        }
      }
      EXPECT_EQ(wrong, 0) << m->rows << " x " << m->cols;
      from += copy.size();
    }
  }

  // The same for a gated matrix: gate and up of each group, kGateRows rows of the one, then of the other.
  void expect_gated(const std::vector<const model::Mlp*>& groups, const void* device) const {
    const auto* from = static_cast<const uint8_t*>(device);
    for (const model::Mlp* mlp : groups) {
      const size_t bytes = mlp->gate.format == model::WeightFormat::kFp8 ? 1 : 2;
      const int rows = mlp->gate.rows + mlp->up.rows, cols = mlp->gate.cols;
      std::vector<uint8_t> copy(static_cast<size_t>(rows) * cols * bytes);
      fetch_(copy.data(), from, copy.size());
      int64_t wrong = 0;
      for (int r = 0; r < rows; ++r) {
        const model::Matrix& part = r / kGateRows % 2 == 0 ? mlp->gate : mlp->up;
        const int row = r / (2 * kGateRows) * kGateRows + r % kGateRows;
        for (int c = 0; c < cols; ++c) {
          uint16_t got = 0;
          std::memcpy(&got, copy.data() + place_of(Order::kImage, r, c, cols, bytes), bytes);
          wrong += got != element(part, row, c);
        }
      }
      EXPECT_EQ(wrong, 0) << rows << " x " << cols;
      from += copy.size();
    }
  }

  const Fetch fetch_;
};

}  // namespace outrider::cuda

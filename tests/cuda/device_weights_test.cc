#include "cuda/device_weights.h"

#include <gtest/gtest.h>

#include <cstring>

#include "checkpoint/load.h"
#include "cpu/safetensors_reader.h"
#include "cuda/needs_gpu.h"

namespace outrider::cuda {
namespace {

// Element (row, col) of a matrix in host memory.
uint16_t element(const model::Matrix& m, int row, int col) {
  const int64_t at = m.layout == model::Layout::kRowMajor ? row * m.stride + col : col * m.stride + row;
  if (m.format == model::WeightFormat::kFp8) return static_cast<const uint8_t*>(m.data)[at];
  return static_cast<const uint16_t*>(m.data)[at];
}

enum class Order { kRows, kImage };

// Byte of the first of an element's in a matrix of so many columns. In an image each 64 rows by 128 bytes are
// 8 KB in one piece, 128 a row, whose 16-byte parts change places by the row.
size_t place_of(Order order, int row, int col, int cols, size_t bytes) {
  const size_t byte = col * bytes, row_bytes = cols * bytes;
  if (order == Order::kRows) return row * row_bytes + byte;
  const size_t block = row / 64 * (row_bytes / 128) + byte / 128;
  return block * 8192 + row % 64 * 128 + ((byte % 128) ^ (row % 8 * 16));
}

// Checks that `parts`, one below the other, lie at `device`; returns the address after them.
const uint8_t* expect_rows(const std::vector<const model::Matrix*>& parts, const uint8_t* device,
                           Order order = Order::kImage) {
  for (const model::Matrix* m : parts) {
    const size_t bytes = m->format == model::WeightFormat::kFp8 ? 1 : 2;
    std::vector<uint8_t> copy(static_cast<size_t>(m->rows) * m->cols * bytes);
    check(cudaMemcpy(copy.data(), device, copy.size(), cudaMemcpyDeviceToHost), "copy");
    int64_t wrong = 0;
    for (int r = 0; r < m->rows; ++r) {
      for (int c = 0; c < m->cols; ++c) {
        uint16_t got = 0;
        std::memcpy(&got, copy.data() + place_of(order, r, c, m->cols, bytes), bytes);
        wrong += got != element(*m, r, c);
      }
    }
    EXPECT_EQ(wrong, 0) << m->rows << " x " << m->cols;
    device += copy.size();
  }
  return device;
}

// The same for a gated matrix: gate and up of each group, kGateRows rows of the one, then of the other.
void expect_gated(const std::vector<const model::Mlp*>& groups, const uint8_t* device) {
  for (const model::Mlp* mlp : groups) {
    const size_t bytes = mlp->gate.format == model::WeightFormat::kFp8 ? 1 : 2;
    const int rows = mlp->gate.rows + mlp->up.rows, cols = mlp->gate.cols;
    std::vector<uint8_t> copy(static_cast<size_t>(rows) * cols * bytes);
    check(cudaMemcpy(copy.data(), device, copy.size(), cudaMemcpyDeviceToHost), "copy");
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
    device += copy.size();
  }
}

// The first matrix lies at the start of the allocation; the others follow in the order of upload(), 1024
// bytes aligned.
void expect_uploaded(const model::Model& host, const DeviceWeights& device) {
  expect_rows({&host.weights.embed}, static_cast<const uint8_t*>(device.embed), Order::kRows);
  expect_rows({&host.weights.lm_head}, static_cast<const uint8_t*>(device.lm_head.w.data));
  for (size_t l = 0; l < device.layers.size(); ++l) {
    const model::Layer& from = host.weights.layers[l];
    const DeviceLayer& to = device.layers[l];
    expect_rows({&from.router}, static_cast<const uint8_t*>(to.router), Order::kRows);
    std::vector<uint16_t> norm(host.config.hidden_size);
    check(cudaMemcpy(norm.data(), to.input_norm, norm.size() * 2, cudaMemcpyDeviceToHost), "copy");
    EXPECT_EQ(0, std::memcmp(norm.data(), from.input_norm, norm.size() * 2));
    expect_rows({&from.q, &from.k, &from.v}, static_cast<const uint8_t*>(to.qkv.w.data));
    expect_rows({&from.o}, static_cast<const uint8_t*>(to.o.w.data));
    expect_gated({&from.shared_expert}, static_cast<const uint8_t*>(to.shared_expert.gate_up.w.data));
    expect_rows({&from.shared_expert.down}, static_cast<const uint8_t*>(to.shared_expert.down.w.data));
    std::vector<const model::Mlp*> experts;
    std::vector<const model::Matrix*> down;
    for (const model::Mlp& expert : from.experts) {
      experts.push_back(&expert);
      down.push_back(&expert.down);
    }
    expect_gated(experts, static_cast<const uint8_t*>(to.experts.gate_up.w.data));
    expect_rows(down, static_cast<const uint8_t*>(to.experts.down.w.data));
  }
}

TEST(DeviceWeights, hold_the_bytes_of_every_layout_of_the_checkpoint) {
  NEEDS_GPU();
  for (const char* name : {"tiny-a-bf16", "tiny-a-fp8", "tiny-a-fp8-mm-legacy", "tiny-a-fp8-perexpert"}) {
    SCOPED_TRACE(name);
    const model::Model host = checkpoint::load(test::fixture(std::string("checkpoints/") + name), {});
    expect_uploaded(host, upload(host));
  }
}

TEST(DeviceWeights, dummy_weights_made_on_the_device_are_those_of_the_host) {
  NEEDS_GPU();
  for (const char* form : {"", "modelopt"}) {
    SCOPED_TRACE(form);
    checkpoint::LoadOptions options;
    options.format = checkpoint::LoadFormat::kDummy;
    options.quantization = form;
    options.seed = 3;
    const std::string folder = test::fixture(*form ? "checkpoints/tiny-a-fp8" : "checkpoints/tiny-a-bf16");
    const model::Model host = checkpoint::load(folder, options);
    options.write_dummy = false;
    expect_uploaded(host, upload(checkpoint::load(folder, options)));
  }
}

}  // namespace
}  // namespace outrider::cuda

#include "cuda/device_weights.h"

#include <fmt/format.h>

#include <chrono>

#include "base/log.h"
#include "cuda/weight_layout.h"
#include "cuda/weight_transfer.h"

namespace outrider::cuda {
namespace {

// What is read and copied at a time: long enough for a disk and for PCIe, short enough that the pieces on
// their way are few megabytes to pin. What the device makes itself is only staged there.
constexpr int64_t kReadBytes = 4 << 20, kGeneratedBytes = 16 << 20;

}  // namespace

int64_t device_weight_bytes(const model::Model& model) { return lay_out(model, nullptr, kReadBytes).bytes; }

DeviceWeights upload(const model::Model& model) {
  DeviceBuffer memory(static_cast<size_t>(device_weight_bytes(model)));
  const auto begin = std::chrono::steady_clock::now();
  WeightLayout layout =
      lay_out(model, memory.as<uint8_t>(), model.weights.generated ? kGeneratedBytes : kReadBytes);
  transfer(layout.pieces, model.weights);
  Stream stream;
  for (const auto& [to, values] : layout.scales) {
    check(cudaMemcpyAsync(const_cast<float*>(to), values.data(), values.size() * sizeof(float),
                          cudaMemcpyHostToDevice, stream),
          "copy of scales");
  }
  stream.wait();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  log::info(fmt::format("Weights are on the device: {:.2f} GB in {:.3f} s, {:.1f} GB/s",
                        static_cast<double>(layout.bytes) * 1e-9, seconds,
                        static_cast<double>(layout.bytes) * 1e-9 / seconds));
  layout.weights.memory = std::move(memory);
  return std::move(layout.weights);
}

}  // namespace outrider::cuda

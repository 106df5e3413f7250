// A step's arrays on their way to the device: written one after the other into pinned memory, copied at once.
#pragma once

#include <cstring>
#include <span>

#include "cuda/device.h"

namespace outrider::cuda {

class StepBlock {
 public:
  explicit StepBlock(size_t bytes) : host_(bytes), device_(bytes) {}

  void clear() { used_ = 0; }

  // Where the values will be on the device, once copy() has run.
  template <typename T>
  const T* put(std::span<const T> values) {
    const size_t at = used_;
    used_ = at + (values.size_bytes() + kAlignment - 1) / kAlignment * kAlignment;
    if (used_ > host_.bytes()) throw DeviceError("a step's plan is larger than the room kept for it");
    if (!values.empty()) std::memcpy(host_.as<char>() + at, values.data(), values.size_bytes());
    return reinterpret_cast<const T*>(device_.as<char>() + at);
  }
  template <typename T>
  const T* put(const std::vector<T>& values) {
    return put(std::span<const T>(values));
  }

  void copy(cudaStream_t stream) {
    check(cudaMemcpyAsync(device_.as<char>(), host_.as<char>(), used_, cudaMemcpyHostToDevice, stream),
          "copy of a step");
  }

  static constexpr size_t kAlignment = 256;

 private:
  PinnedBuffer host_;
  DeviceBuffer device_;
  size_t used_ = 0;
};

}  // namespace outrider::cuda

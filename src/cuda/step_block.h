// A step's arrays on their way to the device: written one after the other into pinned memory, copied at once.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "cuda/device.h"

namespace outrider::cuda {

class StepBlock {
 public:
  // Both of `bytes`; they stay the caller's.
  StepBlock(void* host, void* device, size_t bytes)
      : host_(static_cast<char*>(host)), device_(static_cast<char*>(device)), bytes_(bytes) {}

  void clear() { used_ = 0; }

  // Where the values will be on the device, once copy() has run. `room`: of so many values at least, so that
  // what follows lies where it would behind a longer list.
  template <typename T>
  const T* put(std::span<const T> values, size_t room = 0) {
    const size_t at = take(sizeof(T) * std::max(values.size(), room));
    if (!values.empty()) std::memcpy(host_ + at, values.data(), values.size_bytes());
    return reinterpret_cast<const T*>(device_ + at);
  }
  template <typename T>
  const T* put(const std::vector<T>& values, size_t room = 0) {
    return put(std::span<const T>(values), room);
  }
  // Rows of `length` values, `stride` apart. What lies between is not written.
  template <typename T>
  const T* put_rows(std::span<const T> values, size_t length, size_t stride) {
    if (length == stride || length == 0) return put(values);
    const size_t rows = values.size() / length, at = take(sizeof(T) * rows * stride);
    for (size_t row = 0; row < rows; ++row)
      std::memcpy(host_ + at + sizeof(T) * row * stride, values.data() + row * length, sizeof(T) * length);
    return reinterpret_cast<const T*>(device_ + at);
  }

  void copy(cudaStream_t stream) {
    check(cudaMemcpyAsync(device_, host_, used_, cudaMemcpyHostToDevice, stream), "copy of a step");
  }

  static constexpr size_t kAlignment = 256;

 private:
  size_t take(size_t bytes) {
    const size_t at = used_, end = at + (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (end > bytes_) throw DeviceError("a step's plan is larger than the room kept for it");
    used_ = end;
    return at;
  }

  char *host_, *device_;
  size_t bytes_, used_ = 0;
};

}  // namespace outrider::cuda

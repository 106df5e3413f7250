// Tests of kernels are compiled everywhere and skipped where there is no device of compute capability 9.0.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

namespace outrider::cuda {

inline bool has_hopper() {
  cudaDeviceProp properties;
  return cudaGetDeviceProperties(&properties, 0) == cudaSuccess && properties.major == 9;
}

}  // namespace outrider::cuda

#define NEEDS_GPU() \
  if (!::outrider::cuda::has_hopper()) GTEST_SKIP() << "no Hopper GPU on this machine"

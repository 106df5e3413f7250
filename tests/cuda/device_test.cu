#include <gtest/gtest.h>

#include "cuda/launch.cuh"
#include "cuda/needs_gpu.h"

namespace outrider::cuda {
namespace {

__global__ void add_one(int* x) {
  wait_for_previous();
  ++*x;
}

TEST(Device, kernels_of_one_stream_see_the_ones_before) {
  NEEDS_GPU();
  Stream stream;
  DeviceBuffer x(sizeof(int));
  check(cudaMemsetAsync(x.as<int>(), 0, sizeof(int), stream), "cudaMemset");
  for (int i = 0; i < 100; ++i) launch(add_one, 1, 1, 0, stream, x.as<int>());
  int host = 0;
  check(cudaMemcpyAsync(&host, x.as<int>(), sizeof(int), cudaMemcpyDeviceToHost, stream), "cudaMemcpy");
  stream.wait();
  EXPECT_EQ(host, 100);
}

}  // namespace
}  // namespace outrider::cuda

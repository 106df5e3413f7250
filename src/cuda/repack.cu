// 64 x 64 tiles through shared memory: both sides in runs of 64 elements. Only at start-up; the copy over
// PCIe is its floor.
#include "cuda/device.h"
#include "cuda/gemm.h"
#include "cuda/repack.h"

namespace outrider::cuda {
namespace {

constexpr int kTile = 64;
constexpr int kThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kThreads)
    transpose_kernel(const T* from, int rows, int cols, T* to, int64_t to_stride, bool spread) {
  __shared__ T tile[kTile][kTile + 4 / sizeof(T)];
  const int row0 = blockIdx.x * kTile, col0 = blockIdx.y * kTile;
  const int lane = threadIdx.x % kTile;
  for (int c = threadIdx.x / kTile; c < kTile; c += kThreads / kTile) {
    if (col0 + c < cols && row0 + lane < rows) tile[c][lane] = from[int64_t{col0 + c} * rows + row0 + lane];
  }
  __syncthreads();
  for (int r = threadIdx.x / kTile; r < kTile; r += kThreads / kTile) {
    const int row = row0 + r, place = spread ? row + row / kGateRows * kGateRows : row;
    if (row < rows && col0 + lane < cols) to[int64_t{place} * to_stride + col0 + lane] = tile[lane][r];
  }
}

}  // namespace

void transpose(int element_bytes, const void* from, int rows, int cols, void* to, int64_t to_stride,
               bool spread, cudaStream_t stream) {
  const dim3 grid((rows + kTile - 1) / kTile, (cols + kTile - 1) / kTile);
  if (element_bytes == 1) {
    transpose_kernel<<<grid, kThreads, 0, stream>>>(static_cast<const uint8_t*>(from), rows, cols,
                                                    static_cast<uint8_t*>(to), to_stride, spread);
  } else {
    transpose_kernel<<<grid, kThreads, 0, stream>>>(static_cast<const uint16_t*>(from), rows, cols,
                                                    static_cast<uint16_t*>(to), to_stride, spread);
  }
  check(cudaGetLastError(), "transpose");
}

}  // namespace outrider::cuda

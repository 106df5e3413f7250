// Columns go through shared memory, 64 x 64 elements at a time, both sides in runs of 64. Only at start-up;
// the copy over PCIe is its floor.
#include <algorithm>

#include "cuda/device.h"
#include "cuda/repack.h"

namespace outrider::cuda {
namespace {

constexpr int kTile = 64;
constexpr int kThreads = 256;
constexpr int kMaxBlocks = 132 * 8;
constexpr int kAccess = 16;  // bytes

__global__ void __launch_bounds__(kThreads)
    copy_rows_kernel(const uint4* from, int64_t first, int64_t accesses, Place to) {
  const int64_t a_row = to.row_bytes / kAccess;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < accesses;
       i += int64_t{gridDim.x} * kThreads) {
    *reinterpret_cast<uint4*>(to.at(first + i / a_row, i % a_row * kAccess)) = from[i];
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    copy_columns_kernel(const T* from, int64_t first, int cols, int rows, Place to) {
  __shared__ T tile[kTile][kTile + 4 / sizeof(T)];
  const int row0 = blockIdx.x * kTile, col0 = blockIdx.y * kTile;
  const int lane = threadIdx.x % kTile;
  for (int c = threadIdx.x / kTile; c < kTile; c += kThreads / kTile) {
    if (col0 + c < cols && row0 + lane < rows) tile[c][lane] = from[int64_t{col0 + c} * rows + row0 + lane];
  }
  __syncthreads();
  for (int r = threadIdx.x / kTile; r < kTile; r += kThreads / kTile) {
    if (row0 + r < rows && col0 + lane < cols) {
      *reinterpret_cast<T*>(to.at(row0 + r, (first + col0 + lane) * static_cast<int64_t>(sizeof(T)))) =
          tile[lane][r];
    }
  }
}

}  // namespace

void copy_rows(const void* from, int64_t first, int64_t rows, const Place& to, cudaStream_t stream) {
  const int64_t accesses = rows * to.row_bytes / kAccess;
  const auto blocks =
      static_cast<unsigned>(std::min<int64_t>((accesses + kThreads - 1) / kThreads, kMaxBlocks));
  copy_rows_kernel<<<blocks, kThreads, 0, stream>>>(static_cast<const uint4*>(from), first, accesses, to);
  check(cudaGetLastError(), "copy of weight rows");
}

void copy_columns(int element_bytes, const void* from, int64_t first, int cols, int rows, const Place& to,
                  cudaStream_t stream) {
  const dim3 grid((rows + kTile - 1) / kTile, (cols + kTile - 1) / kTile);
  if (element_bytes == 1) {
    copy_columns_kernel<<<grid, kThreads, 0, stream>>>(static_cast<const uint8_t*>(from), first, cols, rows,
                                                       to);
  } else {
    copy_columns_kernel<<<grid, kThreads, 0, stream>>>(static_cast<const uint16_t*>(from), first, cols, rows,
                                                       to);
  }
  check(cudaGetLastError(), "copy of weight columns");
}

}  // namespace outrider::cuda

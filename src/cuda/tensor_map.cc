#include "cuda/tensor_map.h"

#include <cuda_runtime.h>

#include <string>

#include "cuda/device.h"

namespace outrider::cuda {
namespace {

// The driver is not linked: this program also starts where there is none.
auto encoder() {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault,
                                           &found),
          "cuTensorMapEncodeTiled");
    if (found != cudaDriverEntryPointSuccess) throw DeviceError("the NVIDIA driver is older than CUDA 12.0");
    return reinterpret_cast<Encode>(function);
  }();
  return encode;
}

}  // namespace

CUtensorMap make_tensor_map(const void* base, int64_t rows, int64_t row_bytes, int box_rows) {
  constexpr cuuint32_t kBoxBytes = 128;
  CUtensorMap map;
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(row_bytes), static_cast<cuuint64_t>(rows)};
  const cuuint64_t stride[1] = {static_cast<cuuint64_t>(row_bytes)};
  const cuuint32_t box[2] = {kBoxBytes, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t step[2] = {1, 1};
  const CUresult status =
      encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, const_cast<void*>(base), sizes, stride, box, step,
                CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    throw DeviceError("CUDA: cuTensorMapEncodeTiled: error " + std::to_string(status) + " for " +
                      std::to_string(rows) + " rows of " + std::to_string(row_bytes) + " bytes");
  }
  return map;
}

}  // namespace outrider::cuda

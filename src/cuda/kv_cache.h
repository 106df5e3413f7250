// The paged KV cache on the device. A page (model::KvGeometry, 64 positions) holds, for each layer of its
// group, for each KV head, one image: K [64][head_dim], then V. The image is what the attention kernel wants
// in shared memory, swizzles included, so that one bulk copy brings a page of a head; kv_image.cuh says where
// each element lies.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "model/config.h"
#include "model/memory_plan.h"

namespace outrider::cuda {

inline constexpr int kPagePositions = 64;

// One layer's part of the cache. Element (page, head) starts at base + page * page_stride + head *
// head_bytes.
struct KvLayer {
  uint8_t* base = nullptr;
  int64_t page_stride = 0;  // bytes
  int64_t head_bytes = 0;   // of one image: K and V
  int kv_heads = 0, head_dim = 0;
  model::KvDtype dtype = model::KvDtype::kFp8E4m3;
  float k_scale = 1.0f, v_scale = 1.0f;  // stored code * scale = value; 1 for bf16
};

}  // namespace outrider::cuda

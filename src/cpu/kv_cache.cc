#include "cpu/kv_cache.h"

#include "cpu/number_formats.h"

namespace outrider::cpu {
namespace {

// Writes n values with a distance of `stride` elements.
void store_values(const float* x, int n, float scale, model::KvDtype dtype, uint8_t* out, int64_t stride) {
  switch (dtype) {
    case model::KvDtype::kFp8E4m3:
      for (int i = 0; i < n; ++i) out[i * stride] = float_to_e4m3(x[i] / scale);
      return;
    case model::KvDtype::kBf16:
      for (int i = 0; i < n; ++i) reinterpret_cast<uint16_t*>(out)[i * stride] = float_to_bf16(x[i]);
      return;
    case model::KvDtype::kF32:
      for (int i = 0; i < n; ++i) reinterpret_cast<float*>(out)[i * stride] = x[i];
      return;
  }
}

}  // namespace

KvCache::KvCache(const model::LlamaConfig& config, const model::KvGeometry& geometry)
    : geometry_(geometry),
      kv_heads_(config.num_kv_heads),
      head_dim_(config.head_dim),
      element_bytes_(model::bytes_of(geometry.dtype)),
      head_bytes_(int64_t{config.head_dim} * geometry.block_size * element_bytes_),
      page_bytes_(geometry.page_bytes(config)),
      memory_(static_cast<size_t>(page_bytes_) * geometry.num_blocks) {}

void KvCache::store(int page, int offset, int layer, const KvScales& scales, const float* k, const float* v) {
  for (int head = 0; head < kv_heads_; ++head) {
    auto* k_out = const_cast<uint8_t*>(k_head(page, layer, head)) + int64_t{offset} * element_bytes_;
    auto* v_out =
        const_cast<uint8_t*>(v_head(page, layer, head)) + int64_t{offset} * head_dim_ * element_bytes_;
    store_values(k + head * head_dim_, head_dim_, scales.k, geometry_.dtype, k_out, geometry_.block_size);
    store_values(v + head * head_dim_, head_dim_, scales.v, geometry_.dtype, v_out, 1);
  }
}

}  // namespace outrider::cpu

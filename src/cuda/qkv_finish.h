// Between the qkv product and attention: rotation and QK norm (RoPE layers) or attention temperature (NoPE
// layers), then q for the attention kernel, K and V into the cache.
#pragma once

#include <cuda_runtime.h>

#include "cuda/batch.h"
#include "cuda/kv_cache.h"

namespace outrider::cuda {

struct QkvFinish {
  Batch batch;
  const void* qkv = nullptr;  // bf16 [rows][q_size + 2 * kv_size]: q, k, v
  void* q = nullptr;          // bf16 [rows][q_size]
  KvLayer cache;
  int page_group = 0;  // of the layer, in Batch::pages
  int heads = 0;       // of q

  const float* rope_frequencies = nullptr;  // device [head_dim / 2]; null: a NoPE layer
  bool use_qk_norm = false;                 // RoPE layers
  float qk_norm_eps = 1e-5f;

  // NoPE layers: q *= 1 + attn_scale * log(1 + floor((position + 1) / floor_scale)); attn_scale 0: no
  // tuning.
  float attn_scale = 0.0f, floor_scale = 8192.0f;
};
void qkv_finish(const QkvFinish& call, cudaStream_t stream);

}  // namespace outrider::cuda

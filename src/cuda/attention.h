// Causal attention of new tokens over the paged cache.
//
// A row's result depends on its own q, its position and the keys it sees, bit for bit: keys are taken page by
// page in runs of kKeyRun, each run's softmax starts anew, and the runs are folded in order, by the block
// that has them all or by the merge kernel, with the same arithmetic.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/attention_work.h"
#include "cuda/batch.h"
#include "cuda/elementwise.h"
#include "cuda/kv_cache.h"
#include "cuda/qkv_finish.h"

namespace outrider::cuda {

// Device pointers to what plan_attention made. Lengths are read on the device; the host knows which lists are
// anything but empty, and how many merges there are at most.
struct AttentionLists {
  const AttentionTile* narrow = nullptr;
  const AttentionTile* wide = nullptr;
  const AttentionMerge* merges = nullptr;
  const int32_t* counts = nullptr;  // [3]: of narrow, wide, merges
  bool has_narrow = true, has_wide = true;
  int num_merges = 0;
  int chunk_size = 0;     // of these layers; 0: full attention
  int decode_runs = 0;    // AttentionWork; StepMaker: 0 where attend_few() is not for them
  bool finishes = false;  // AttentionWork; those rows are for Attention::decode()
  friend bool operator==(const AttentionLists&, const AttentionLists&) = default;
};

struct AttentionCall {
  KvLayer cache;
  const void* q = nullptr;  // bf16 [rows][heads * head_dim]
  ProductInput out;         // the same shape
  // Pages of this layer's group: block b of sequence s is pages[s * page_stride + b].
  const int32_t* pages = nullptr;
  int page_stride = 0;
  AttentionLists lists;
  float* partials = nullptr;  // attention_workspace_bytes()
};

// Query heads that share a KV head.
inline constexpr int kMaxHeadGroup = 8;

struct AttentionKernels {
  // Narrow and wide tiles; the merge comes after.
  void (*run)(const AttentionCall& call, int heads, int num_sms, cudaStream_t stream) = nullptr;
  // Narrow tiles of one token each, which it finishes itself.
  void (*decode)(const QkvFinish& finish, const AttentionCall& call, int num_sms,
                 cudaStream_t stream) = nullptr;
  int narrow_tokens = 1, wide_tokens = 1;  // a tile
  int narrow_blocks_per_sm = 1;
};

class Attention {
 public:
  // Throws DeviceError for shapes without a kernel: head_dim other than 64 or 128, groups of more than 8
  // heads.
  Attention(const AttentionShape& shape, int num_sms);
  AttentionTiling tiling(int max_partials) const;
  void operator()(const AttentionCall& call, cudaStream_t stream) const;
  // What qkv_finish and attention do where every sequence has one new token, with the same bits.
  // `finish.q` and `call.q` are not used. Must come behind a narrow product, as attend_few().
  void decode(const QkvFinish& finish, const AttentionCall& call, cudaStream_t stream) const;

 private:
  void merge(const AttentionCall& call, cudaStream_t stream) const;

  AttentionShape shape_;
  int num_sms_;
  AttentionKernels kernels_;
};

}  // namespace outrider::cuda

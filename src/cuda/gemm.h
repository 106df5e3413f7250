// y[token][feature] = scale * sum_k w[feature][k] x[token][k], for one weight matrix or for a group of them
// (experts), each with its own run of tokens.
//
// Every feature's sum has the order of gemm_order.h: whatever the tile, the batch and the row's place in it,
// the same bits.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace outrider::cuda {

enum class ElementType { kFp8, kBf16 };
enum class OutputType { kBf16, kF32, kFp8 };

inline constexpr int kFeatureTile = 64;  // features that share a scale
inline constexpr int kMaxGroups = 32;
inline constexpr int kGateRows = 8;  // of gate, then as many of up, in a gated matrix

// Weights [groups * features][k], as weight_image.h has them in memory.
struct GemmWeights {
  ElementType type = ElementType::kBf16;
  const void* data = nullptr;  // device
  int groups = 1;
  int features = 0;               // of one group; a multiple of kFeatureTile
  int k = 0;                      // a multiple of 128 (FP8) or 64 (bf16)
  int splits = 1;                 // segments of k that are summed apart
  const float* scales = nullptr;  // device [groups * features / kFeatureTile], pairs if gated; null: 1
  // Rows alternate between gate and up, kGateRows each; y is silu(gate) * up [tokens][features / 2], and a
  // feature tile has two scales, gate's and up's.
  bool gated = false;
};
GemmWeights make_gemm_weights(ElementType type, const void* data, int groups, int features, int k,
                              const float* scales, bool gated = false);
// Groups [first, first + groups) of `all`.
GemmWeights some_groups(const GemmWeights& all, int first, int groups);

// Maps by the tokens of gemm_wide.h's tiles, kTokenStep more each: a copy takes half of a tile's.
inline constexpr int kTokenStep = 32, kWideTiles = 6;
struct WideTensor {
  CUtensorMap half[kWideTiles]{};
};

// Activations [max_tokens][k], K contiguous; maps by the number of tokens that a copy takes.
struct GemmInput {
  CUtensorMap tensor[4]{};
  WideTensor wide;
};
GemmInput make_gemm_input(ElementType type, const void* data, int64_t max_tokens, int k);

// Where the blocks of a product meet: those of a tile whose K is cut into segments, and those that draw the
// next of many tiles. Products of one stream share it. Each leaves it as it found it.
struct SplitTotals {
  static constexpr uint32_t kAbsent = 0xffffffff;
  float* totals = nullptr;       // device, all kAbsent between products
  int32_t* next_tile = nullptr;  // device, zero between products
  static size_t bytes();
  static SplitTotals in(void* memory);  // device, bytes(), 16-byte aligned; fills it
};

// With few tokens, a matrix that every row takes (group 0) and experts (groups 1 on) are one product. x and y
// hold the rows [0, rows), then from row kFewTokens on the pairs: pair p belongs to group 1 +
// expert_of_pair[p].
inline constexpr int kFewTokens = 16;
struct FewTokens {
  const int32_t* expert_of_pair = nullptr;  // device; null: this is no such product
  int experts_per_token = 0;
};

// token_begin: device [groups + 1]; group g has tokens [token_begin[g], token_begin[g + 1]) of x and y. Null:
// one group, whose tokens the host knows. With FewTokens: {0, rows}. `tokens_a_group`: what the host expects
// a group to have; chooses the tile, changes no result.
struct GemmCall {
  const GemmWeights* w = nullptr;
  const GemmInput* x = nullptr;
  void* y = nullptr;                      // [tokens][features]
  OutputType output = OutputType::kBf16;  // kFp8: of gated matrices alone
  const int32_t* token_begin = nullptr;
  int tokens_a_group = 0;
  SplitTotals split;
  float divisor = 1.0f;                     // what kFp8 values are divided by
  const float* divisor_of_group = nullptr;  // device [groups], in place of `divisor`
  FewTokens few = {};
  // The groups' tokens were known before the kernel before this one let this one start: that kernel was a
  // narrow product or one of groups it did not know, which do so after their own wait.
  bool groups_known = false;
  // Group 0 takes tokens_a_group tokens, the others share as many: it keeps the caches and the tensor cores
  // busy, and their weights the memory.
  bool first_takes_all = false;
};
void gemm(const GemmCall& call, int num_sms, cudaStream_t stream);
// Products with so many tokens a group have their tiles in gemm_tiles.cuh, others in gemm_wide_tiles.cuh.
constexpr bool is_narrow(int groups, int tokens_a_group) {
  return tokens_a_group <= (groups == 1 ? 256 : 64);
}

// Once a process and device, before the first gemm(): lets the kernels use the device's whole shared memory.
void prepare_gemm();

}  // namespace outrider::cuda

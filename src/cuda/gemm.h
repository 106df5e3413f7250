// y[token][feature] = scale * sum_k w[feature][k] x[token][k], for one weight matrix or for a group of them
// (experts), each with its own run of tokens.
//
// Every feature's sum runs over k in blocks of 128 bytes, each added to an fp32 total in order, and segments'
// totals in order: whatever the tile, the batch and the row's place in it, the same bits.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace outrider::cuda {

enum class ElementType { kFp8, kBf16 };
enum class OutputType { kBf16, kF32 };

inline constexpr int kFeatureTile = 64;  // features that share a scale
inline constexpr int kMaxGroups = 32;

// Weights [groups * features][k], K contiguous.
struct GemmWeights {
  ElementType type = ElementType::kBf16;
  const void* data = nullptr;
  int groups = 1;
  int features = 0;               // of one group; a multiple of kFeatureTile
  int k = 0;                      // a multiple of 128 (FP8) or 64 (bf16)
  int splits = 1;                 // segments of k that are summed apart
  const float* scales = nullptr;  // device [groups * features / kFeatureTile]; null: 1
  CUtensorMap tensor{};           // boxes of kFeatureTile rows
};
GemmWeights make_gemm_weights(ElementType type, const void* data, int groups, int features, int k,
                              const float* scales);

// Activations [max_tokens][k], K contiguous; one map for each width of a token tile.
struct GemmInput {
  CUtensorMap tensor[3]{};
};
GemmInput make_gemm_input(ElementType type, const void* data, int64_t max_tokens, int k);

// Where the blocks of a tile meet whose K is cut into segments. Products of one stream share it.
struct SplitTotals {
  float* totals = nullptr;    // device, total_bytes()
  int32_t* counts = nullptr;  // device, count_bytes(), zero before the first product
  static size_t total_bytes();
  static size_t count_bytes();
};

// token_begin: device [groups + 1]; group g has tokens [token_begin[g], token_begin[g + 1]) of x and y. Null:
// one group, whose tokens the host knows. `tokens_a_group`: what the host expects a group to have; chooses
// the tile, changes no result.
struct GemmCall {
  const GemmWeights* w = nullptr;
  const GemmInput* x = nullptr;
  void* y = nullptr;  // [tokens][features]
  OutputType output = OutputType::kBf16;
  const int32_t* token_begin = nullptr;
  int tokens_a_group = 0;
  SplitTotals split;
};
void gemm(const GemmCall& call, int num_sms, cudaStream_t stream);

// Once a process and device, before the first gemm(): lets the kernels use the device's whole shared memory.
void prepare_gemm();

}  // namespace outrider::cuda

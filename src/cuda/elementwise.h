// What lies between the matrix products, one token a block: embedding, residual and RMSNorm, SwiGLU, rounding
// to FP8. Rows are bf16 in memory and fp32 in registers; each kernel rounds once at its end.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/batch.h"
#include "cuda/gemm.h"

namespace outrider::cuda {

// Longest row of the kernels that keep one in registers.
inline constexpr int kMaxRow = 8192;

// Where a product's input goes: e4m3 of value / scale, or bf16 (scale unused).
struct ProductInput {
  ElementType type = ElementType::kBf16;
  void* data = nullptr;  // [rows][columns]
  float scale = 1.0f;
};

// residual[row] = table[token]; a token kTokenFromDevice is last_token[slot of the row's sequence].
void embed(const Batch& batch, const void* table, const int32_t* last_token, int vocab, int hidden,
           void* residual, cudaStream_t stream);

// residual[row] += update[row] + sum of expert_out[place of the row's pairs]; out = norm(residual[row]) *
// weight.
struct AddNorm {
  int rows = 0, hidden = 0;
  void* residual = nullptr;                // bf16 [..., hidden]
  const void* update = nullptr;            // bf16 [..., hidden]; null: none
  const void* expert_out = nullptr;        // bf16 [pairs, hidden]; null: none
  const int32_t* place_of_pair = nullptr;  // null: pairs are in order; older than the kernel before this one
  int experts_per_token = 0;
  const int32_t* row_index =
      nullptr;  // row i of `out` is row row_index[i] of the rest, and the residual stays as it was
  const void* weight = nullptr;  // bf16 [hidden]
  float eps = 1e-5f;
  ProductInput out;
  int32_t* clear = nullptr;  // [clear_count] zeroed on the way
  int clear_count = 0;
};
void add_norm(const AddNorm& call, cudaStream_t stream);

// The same for the input of a mixture of experts: also each row's best experts by router logit (lowest index
// on ties) and the sigmoid of it. count_of_expert [experts] must be zero; a pair's rank is its place among
// its expert's.
struct AddNormRoute {
  AddNorm norm;                  // out: the shared expert's input
  const void* router = nullptr;  // bf16 [experts, hidden]
  int experts = 0;
  void* normed = nullptr;  // bf16 [rows, hidden]
  int32_t *expert_of_pair = nullptr, *rank_of_pair = nullptr, *count_of_expert = nullptr;
  float* score_of_pair = nullptr;
};
void add_norm_route(const AddNormRoute& call, cudaStream_t stream);

// The same for few rows (FewTokens in gemm.h): pairs stay in order, and each is written to expert_in scaled
// by its score, so that nothing is left to dispatch. normed, rank_of_pair, count_of_expert and score_of_pair
// are not used.
struct FewExperts {
  ProductInput expert_in;                  // [pairs][hidden]; scale unused
  const float* scale_of_expert = nullptr;  // device [experts]
};
inline constexpr int kMaxFewExperts = 32;
void add_norm_route_few(const AddNormRoute& call, const FewExperts& few, cudaStream_t stream);

// Rows of one expert become neighbours: expert_in[place] = normed[row] * score, place = begin of the expert +
// rank.
struct Dispatch {
  int rows = 0, hidden = 0, experts = 0, experts_per_token = 0;
  const void* normed = nullptr;
  const int32_t *expert_of_pair = nullptr, *rank_of_pair = nullptr, *count_of_expert = nullptr;
  const float* score_of_pair = nullptr;
  const float* scale_of_expert = nullptr;  // [experts], of expert_in
  int32_t* place_of_pair = nullptr;
  int32_t* expert_begin = nullptr;  // [experts + 1]
  ProductInput expert_in;           // scale unused
  int first_place = 0;              // of the first expert
};
void dispatch(const Dispatch& call, cudaStream_t stream);

}  // namespace outrider::cuda

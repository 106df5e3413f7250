// What becomes of a tile's totals: they are scaled and stored; or, for a matrix whose rows alternate between
// gate and up, gated by SwiGLU and stored as the next product's input. Shared by tiles of every width.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/gemm.h"
#include "cuda/number_formats.cuh"
#include "cuda/wgmma.cuh"

namespace outrider::cuda {

enum class Epilogue { kBf16, kF32, kGatedBf16, kGatedFp8 };
constexpr bool is_gated(Epilogue epilogue) {
  return epilogue == Epilogue::kGatedBf16 || epilogue == Epilogue::kGatedFp8;
}

// Calls run<element, epilogue>() for the kernels of a call, and for all there are.
template <typename Run>
void with_kernel_of(const GemmCall& call, const Run& run) {
  const auto with = [&]<typename Element>() {
    if (call.output == OutputType::kF32) return run.template operator()<Element, Epilogue::kF32>();
    if (call.output == OutputType::kFp8) return run.template operator()<Element, Epilogue::kGatedFp8>();
    if (call.w->gated) return run.template operator()<Element, Epilogue::kGatedBf16>();
    run.template operator()<Element, Epilogue::kBf16>();
  };
  if (call.w->type == ElementType::kFp8) return with.template operator()<Fp8>();
  with.template operator()<Bf16>();
}
template <typename Run>
void with_every_kernel(const Run& run) {
  const auto with = [&]<typename Element>() {
    run.template operator()<Element, Epilogue::kBf16>();
    run.template operator()<Element, Epilogue::kF32>();
    run.template operator()<Element, Epilogue::kGatedBf16>();
    run.template operator()<Element, Epilogue::kGatedFp8>();
  };
  with.template operator()<Fp8>();
  with.template operator()<Bf16>();
}

struct Output {
  void* y = nullptr;  // [tokens][features], gated [tokens][features / 2]
  int features = 0;
  const float* scales = nullptr;  // of feature tiles of all groups; gated: pairs of gate's and up's; null: 1
  float divisor = 1.0f;           // of FP8 values before they are rounded
  const float* divisor_of_group = nullptr;  // in place of `divisor`
  const int32_t* expert_of_pair = nullptr;  // of FewTokens
};

// A token's values of a feature tile on their way to memory, in shared memory.
template <Epilogue kEpilogue>
struct OutputRow {
  static constexpr int kBytes = kEpilogue == Epilogue::kF32         ? 4 * kFeatureTile
                                : kEpilogue == Epilogue::kBf16      ? 2 * kFeatureTile
                                : kEpilogue == Epilogue::kGatedBf16 ? kFeatureTile
                                                                    : kFeatureTile / 2;
  static constexpr int kStride = kBytes + 16;  // padded against bank conflicts
};

// Scratch of a warpgroup.
template <Epilogue kEpilogue, int kTokens>
constexpr int kOutputBytes = kTokens* OutputRow<kEpilogue>::kStride;

// The reference implementation's roundings: each product to bf16, the gated value to bf16.
__device__ __forceinline__ float gated_value(float gate, float up) {
  const float g = __bfloat162float(__float2bfloat16(gate)), u = __bfloat162float(__float2bfloat16(up));
  return __bfloat162float(__float2bfloat16(__fdividef(g, 1.0f + __expf(-g)) * u));
}

// From the totals of a gate and an up to the next product's input. Of feature tile `tile` of all groups.
template <Epilogue kEpilogue>
class Gating {
 public:
  using Value = std::conditional_t<kEpilogue == Epilogue::kGatedFp8, uint8_t, bf16>;
  __device__ __forceinline__ Gating(const Output& out, int group, int tile)
      : gate_scale_(out.scales ? out.scales[2 * tile] : 1.0f),
        up_scale_(out.scales ? out.scales[2 * tile + 1] : 1.0f),
        divisor_(out.divisor_of_group ? out.divisor_of_group[group] : out.divisor) {}
  __device__ __forceinline__ Value operator()(float gate, float up) const {
    const float value = gated_value(gate_scale_ * gate, up_scale_ * up);
    if constexpr (kEpilogue == Epilogue::kGatedFp8) {
      return to_e4m3(divisor_.quotient(value));
    } else {
      return __float2bfloat16(value);
    }
  }

 private:
  const float gate_scale_, up_scale_;
  const Divisor divisor_;
};

// Puts a warpgroup's totals into its scratch, by token.
template <Epilogue kEpilogue, int kTokens>
__device__ __forceinline__ void stage_totals(const Output& out, int group, int tile, uint8_t* scratch,
                                             const float (&total)[kTokens / 2]) {
  constexpr int kStride = OutputRow<kEpilogue>::kStride;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, column = lane % 4 * 2;
  if constexpr (is_gated(kEpilogue)) {
    const Gating<kEpilogue> gated(out, group, tile);
    const int feature = warp * 8 + lane / 4;
#pragma unroll
    for (int j = 0; j < kTokens / 8; ++j) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        auto* row =
            reinterpret_cast<typename Gating<kEpilogue>::Value*>(scratch + (j * 8 + column + c) * kStride);
        row[feature] = gated(total[4 * j + c], total[4 * j + 2 + c]);
      }
    }
  } else {
    using Value = std::conditional_t<kEpilogue == Epilogue::kF32, float, bf16>;
    const float scale = out.scales ? out.scales[tile] : 1.0f;
    const int feature = warp * 16 + lane / 4;
#pragma unroll
    for (int j = 0; j < kTokens / 8; ++j) {
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        auto* row = reinterpret_cast<Value*>(scratch + (j * 8 + column + (q & 1)) * kStride);
        row[feature + (q >> 1) * 8] = static_cast<Value>(scale * total[4 * j + q]);
      }
    }
  }
}

// Totals of the kFeatureTile features from `feature` on of `group`, by kTokens tokens from `token` on, of
// which `tokens_left` exist; in a warpgroup's registers as wgmma.cuh has them. `barrier`: a named one, the
// warpgroup's own. 16 bytes an access.
template <Epilogue kEpilogue, int kTokens>
__device__ __forceinline__ void store_tile(const Output& out, int group, int feature, int token,
                                           int tokens_left, int barrier, uint8_t* scratch,
                                           const float (&total)[kTokens / 2]) {
  stage_totals<kEpilogue, kTokens>(out, group, (group * out.features + feature) / kFeatureTile, scratch,
                                   total);
  asm volatile("bar.sync %0, 128;" ::"r"(barrier) : "memory");
  constexpr int kBytes = OutputRow<kEpilogue>::kBytes, kAccesses = kBytes / 16;
  const int64_t row_bytes = int64_t{out.features} / kFeatureTile * kBytes;
  uint8_t* y = static_cast<uint8_t*>(out.y) + token * row_bytes + feature / kFeatureTile * kBytes;
  const bool some_are_others = out.expert_of_pair && group > 0;
#pragma unroll 1
  for (int i = threadIdx.x % 128; i < kTokens * kAccesses; i += 128) {
    const int t = i / kAccesses, access = i % kAccesses * 16;
    if (t >= tokens_left || (some_are_others && out.expert_of_pair[token - kFewTokens + t] != group - 1))
      continue;
    *reinterpret_cast<int4*>(y + t * row_bytes + access) =
        *reinterpret_cast<const int4*>(scratch + t * OutputRow<kEpilogue>::kStride + access);
  }
  asm volatile("bar.sync %0, 128;" ::"r"(barrier) : "memory");
}

}  // namespace outrider::cuda

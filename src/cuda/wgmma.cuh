// Hopper's warpgroup matrix instruction: d[64][N] (+)= A[64][k] B[N][k]^T, both operands in shared memory
// with the 128-byte swizzle, K contiguous, accumulation in fp32. PTX ISA 8.x, "wgmma.mma_async".
//
// The numbers of accumulators and operands stand in the instruction's text, so that each width has its own:
// one line below, the text of its accumulators and the operands behind them.
//
// d of a thread: element 4 j + 2 r + c is row 16 * warp + lane / 4 + 8 r, column 8 j + 2 * (lane % 4) + c.
#pragma once

#include <cstdint>

namespace outrider::cuda {

struct Fp8 {};   // e4m3, 32 values an instruction
struct Bf16 {};  // 16 values an instruction: 32 bytes as well

// Operand in shared memory: a 1024-byte aligned tile of 128-byte rows. Only its low half says where; the next
// 32 bytes of K are low half + 2.
__device__ __forceinline__ uint32_t operand_low(uint32_t address) { return address >> 4 | 1 << 16; }
__device__ __forceinline__ uint64_t swizzled_operand_of(uint32_t low) {
  constexpr uint64_t kStride = 1024 >> 4;  // bytes between groups of 8 rows
  constexpr uint64_t kSwizzle128 = 1;
  return low | (kStride << 32) | (kSwizzle128 << 62);
}
__device__ __forceinline__ uint64_t swizzled_operand(uint32_t address) {
  return swizzled_operand_of(operand_low(address));
}

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Tells the compiler that all threads of a warp have the same value: it may not let warpgroup instructions
// overlap otherwise, and keeps what follows from it in uniform registers.
__device__ __forceinline__ int uniform(int value) { return __shfl_sync(~0u, value, 0); }

// Keeps the compiler from moving accumulators across the asynchronous instructions.
template <int kCount>
__device__ __forceinline__ void pin(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// Accumulates into the first kTokens / 2 values of d, or starts from zero.
template <typename Element, int kTokens>
struct Wgmma;

// clang-format off
#define OUTRIDER_TEXT_4 "%0, %1, %2, %3"
#define OUTRIDER_TEXT_8 OUTRIDER_TEXT_4 ", %4, %5, %6, %7"
#define OUTRIDER_TEXT_16 OUTRIDER_TEXT_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define OUTRIDER_TEXT_32 OUTRIDER_TEXT_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define OUTRIDER_TEXT_48 OUTRIDER_TEXT_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define OUTRIDER_TEXT_64 OUTRIDER_TEXT_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define OUTRIDER_TEXT_80 OUTRIDER_TEXT_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define OUTRIDER_TEXT_96 OUTRIDER_TEXT_80 ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"

#define OUTRIDER_SUMS_AT_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define OUTRIDER_SUMS_AT_16(i) OUTRIDER_SUMS_AT_4(i), OUTRIDER_SUMS_AT_4(i + 4), OUTRIDER_SUMS_AT_4(i + 8), OUTRIDER_SUMS_AT_4(i + 12)
#define OUTRIDER_SUMS_4 OUTRIDER_SUMS_AT_4(0)
#define OUTRIDER_SUMS_8 OUTRIDER_SUMS_4, OUTRIDER_SUMS_AT_4(4)
#define OUTRIDER_SUMS_16 OUTRIDER_SUMS_AT_16(0)
#define OUTRIDER_SUMS_32 OUTRIDER_SUMS_16, OUTRIDER_SUMS_AT_16(16)
#define OUTRIDER_SUMS_48 OUTRIDER_SUMS_32, OUTRIDER_SUMS_AT_16(32)
#define OUTRIDER_SUMS_64 OUTRIDER_SUMS_48, OUTRIDER_SUMS_AT_16(48)
#define OUTRIDER_SUMS_80 OUTRIDER_SUMS_64, OUTRIDER_SUMS_AT_16(64)
#define OUTRIDER_SUMS_96 OUTRIDER_SUMS_80, OUTRIDER_SUMS_AT_16(80)

// `sums` accumulators, then operands number a, b and the predicate.
#define OUTRIDER_WGMMA_OF(element, tokens, kind, transposes, sums, a_at, b_at, accumulate_at) \
  template <> \
  struct Wgmma<element, tokens> { \
    template <int kCount> \
    static __device__ __forceinline__ void run(float (&d)[kCount], uint64_t a, uint64_t b, bool accumulate) { \
      asm volatile( \
          "{ .reg .pred p; setp.ne.b32 p, %" #accumulate_at ", 0; " \
          "wgmma.mma_async.sync.aligned.m64n" #tokens kind " {" OUTRIDER_TEXT_##sums "}, " \
          "%" #a_at ", %" #b_at ", p, 1, 1" transposes "; }" \
          : OUTRIDER_SUMS_##sums \
          : "l"(a), "l"(b), "r"(static_cast<int>(accumulate))); \
    } \
  };
#define OUTRIDER_WGMMA(tokens, sums, a_at, b_at, accumulate_at) \
  OUTRIDER_WGMMA_OF(Fp8, tokens, "k32.f32.e4m3.e4m3", "", sums, a_at, b_at, accumulate_at) \
  OUTRIDER_WGMMA_OF(Bf16, tokens, "k16.f32.bf16.bf16", ", 0, 0", sums, a_at, b_at, accumulate_at)

OUTRIDER_WGMMA(8, 4, 4, 5, 6)
OUTRIDER_WGMMA(16, 8, 8, 9, 10)
OUTRIDER_WGMMA(32, 16, 16, 17, 18)
OUTRIDER_WGMMA(64, 32, 32, 33, 34)
OUTRIDER_WGMMA(96, 48, 48, 49, 50)
OUTRIDER_WGMMA(128, 64, 64, 65, 66)
OUTRIDER_WGMMA(160, 80, 80, 81, 82)
OUTRIDER_WGMMA(192, 96, 96, 97, 98)

// d[64][128] += A[64][32] B[128][32]^T, A in registers: a[0] and a[1] hold k = 4 * (lane % 4) on of rows lane / 4 and
// lane / 4 + 8, a[2] and a[3] the same 16 further.
__device__ __forceinline__ void wgmma_fp8_128(float (&d)[64], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {" OUTRIDER_TEXT_64 "}, {%64, %65, %66, %67}, %68, 1, 1, 1;"
      : OUTRIDER_SUMS_64
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
#undef OUTRIDER_WGMMA
#undef OUTRIDER_WGMMA_OF
#undef OUTRIDER_TEXT_4
#undef OUTRIDER_TEXT_8
#undef OUTRIDER_TEXT_16
#undef OUTRIDER_TEXT_32
#undef OUTRIDER_TEXT_48
#undef OUTRIDER_TEXT_64
#undef OUTRIDER_TEXT_80
#undef OUTRIDER_TEXT_96
#undef OUTRIDER_SUMS_4
#undef OUTRIDER_SUMS_8
#undef OUTRIDER_SUMS_16
#undef OUTRIDER_SUMS_32
#undef OUTRIDER_SUMS_48
#undef OUTRIDER_SUMS_64
#undef OUTRIDER_SUMS_80
#undef OUTRIDER_SUMS_96
#undef OUTRIDER_SUMS_AT_4
#undef OUTRIDER_SUMS_AT_16
// clang-format on

// One block of 128 bytes of K; operands by their low halves.
template <typename Element, int kTokens, int kCount>
__device__ __forceinline__ void wgmma_block(float (&d)[kCount], uint32_t a, uint32_t b, bool accumulate) {
  static_assert(kTokens / 2 <= kCount);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    Wgmma<Element, kTokens>::run(d, swizzled_operand_of(a + 2 * j), swizzled_operand_of(b + 2 * j),
                                 accumulate || j > 0);
  }
}

}  // namespace outrider::cuda

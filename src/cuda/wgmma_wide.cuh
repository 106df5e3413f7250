// The warpgroup matrix instruction (wgmma.cuh) for token tiles of every multiple of 32: the number of tokens
// is known at run time, the same for all threads, and the accumulators are the first tokens / 2 of d.
#pragma once

#include "cuda/wgmma.cuh"

namespace outrider::cuda {

inline constexpr int kWidestTokens = 192;
using WideSums = float[kWidestTokens / 2];

// clang-format off
#define OUTRIDER_REGISTERS_16(a) \
  "+f"(d[a]), "+f"(d[a + 1]), "+f"(d[a + 2]), "+f"(d[a + 3]), "+f"(d[a + 4]), "+f"(d[a + 5]), "+f"(d[a + 6]), \
  "+f"(d[a + 7]), "+f"(d[a + 8]), "+f"(d[a + 9]), "+f"(d[a + 10]), "+f"(d[a + 11]), "+f"(d[a + 12]), \
  "+f"(d[a + 13]), "+f"(d[a + 14]), "+f"(d[a + 15])

template <int kCount>
__device__ __forceinline__ void wgmma_wide_32(Fp8, float (&d)[kCount], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %18, 0; wgmma.mma_async.sync.aligned.m64n32k32.f32.e4m3.e4m3 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
      "}, %16, %17, p, 1, 1; }"
      : OUTRIDER_REGISTERS_16(0)
      : "l"(a), "l"(b), "r"(accumulate));
}
template <int kCount>
__device__ __forceinline__ void wgmma_wide_32(Bf16, float (&d)[kCount], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %18, 0; wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
      "}, %16, %17, p, 1, 1, 0, 0; }"
      : OUTRIDER_REGISTERS_16(0)
      : "l"(a), "l"(b), "r"(accumulate));
}
template <int kCount>
__device__ __forceinline__ void wgmma_wide_64(Fp8, float (&d)[kCount], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %34, 0; wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, p, 1, 1; }"
      : OUTRIDER_REGISTERS_16(0), OUTRIDER_REGISTERS_16(16)
      : "l"(a), "l"(b), "r"(accumulate));
}
template <int kCount>
__device__ __forceinline__ void wgmma_wide_64(Bf16, float (&d)[kCount], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %34, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, p, 1, 1, 0, 0; }"
      : OUTRIDER_REGISTERS_16(0), OUTRIDER_REGISTERS_16(16)
      : "l"(a), "l"(b), "r"(accumulate));
}
template <int kCount>
__device__ __forceinline__ void wgmma_wide_96(Fp8, float (&d)[kCount], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %50, 0; wgmma.mma_async.sync.aligned.m64n96k32.f32.e4m3.e4m3 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
      "}, %48, %49, p, 1, 1; }"
      : OUTRIDER_REGISTERS_16(0), OUTRIDER_REGISTERS_16(16), OUTRIDER_REGISTERS_16(32)
      : "l"(a), "l"(b), "r"(accumulate));
}
template <int kCount>
__device__ __forceinline__ void wgmma_wide_96(Bf16, float (&d)[kCount], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %50, 0; wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
      "}, %48, %49, p, 1, 1, 0, 0; }"
      : OUTRIDER_REGISTERS_16(0), OUTRIDER_REGISTERS_16(16), OUTRIDER_REGISTERS_16(32)
      : "l"(a), "l"(b), "r"(accumulate));
}
template <int kCount>
__device__ __forceinline__ void wgmma_wide_128(Fp8, float (&d)[kCount], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %66, 0; wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, p, 1, 1; }"
      : OUTRIDER_REGISTERS_16(0), OUTRIDER_REGISTERS_16(16), OUTRIDER_REGISTERS_16(32), OUTRIDER_REGISTERS_16(48)
      : "l"(a), "l"(b), "r"(accumulate));
}
template <int kCount>
__device__ __forceinline__ void wgmma_wide_128(Bf16, float (&d)[kCount], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %66, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, p, 1, 1, 0, 0; }"
      : OUTRIDER_REGISTERS_16(0), OUTRIDER_REGISTERS_16(16), OUTRIDER_REGISTERS_16(32), OUTRIDER_REGISTERS_16(48)
      : "l"(a), "l"(b), "r"(accumulate));
}
template <int kCount>
__device__ __forceinline__ void wgmma_wide_160(Fp8, float (&d)[kCount], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %82, 0; wgmma.mma_async.sync.aligned.m64n160k32.f32.e4m3.e4m3 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
      "}, %80, %81, p, 1, 1; }"
      : OUTRIDER_REGISTERS_16(0), OUTRIDER_REGISTERS_16(16), OUTRIDER_REGISTERS_16(32), OUTRIDER_REGISTERS_16(48), OUTRIDER_REGISTERS_16(64)
      : "l"(a), "l"(b), "r"(accumulate));
}
template <int kCount>
__device__ __forceinline__ void wgmma_wide_160(Bf16, float (&d)[kCount], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %82, 0; wgmma.mma_async.sync.aligned.m64n160k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
      "}, %80, %81, p, 1, 1, 0, 0; }"
      : OUTRIDER_REGISTERS_16(0), OUTRIDER_REGISTERS_16(16), OUTRIDER_REGISTERS_16(32), OUTRIDER_REGISTERS_16(48), OUTRIDER_REGISTERS_16(64)
      : "l"(a), "l"(b), "r"(accumulate));
}
template <int kCount>
__device__ __forceinline__ void wgmma_wide_192(Fp8, float (&d)[kCount], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %98, 0; wgmma.mma_async.sync.aligned.m64n192k32.f32.e4m3.e4m3 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
      "}, %96, %97, p, 1, 1; }"
      : OUTRIDER_REGISTERS_16(0), OUTRIDER_REGISTERS_16(16), OUTRIDER_REGISTERS_16(32), OUTRIDER_REGISTERS_16(48), OUTRIDER_REGISTERS_16(64), OUTRIDER_REGISTERS_16(80)
      : "l"(a), "l"(b), "r"(accumulate));
}
template <int kCount>
__device__ __forceinline__ void wgmma_wide_192(Bf16, float (&d)[kCount], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %98, 0; wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
      "}, %96, %97, p, 1, 1, 0, 0; }"
      : OUTRIDER_REGISTERS_16(0), OUTRIDER_REGISTERS_16(16), OUTRIDER_REGISTERS_16(32), OUTRIDER_REGISTERS_16(48), OUTRIDER_REGISTERS_16(64), OUTRIDER_REGISTERS_16(80)
      : "l"(a), "l"(b), "r"(accumulate));
}
#undef OUTRIDER_REGISTERS_16

// One block of 128 bytes of K.
template <typename Element, int kTokens, int kCount>
__device__ __forceinline__ void wgmma_wide_block(float (&d)[kCount], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kTokens % 32 == 0 && kTokens / 2 <= kCount);
#pragma unroll
  for (int j = 0; j < 4; ++j, a += 2, b += 2) {
    const int add = accumulate || j > 0;
    if constexpr (kTokens == 32) wgmma_wide_32(Element{}, d, a, b, add);
    if constexpr (kTokens == 64) wgmma_wide_64(Element{}, d, a, b, add);
    if constexpr (kTokens == 96) wgmma_wide_96(Element{}, d, a, b, add);
    if constexpr (kTokens == 128) wgmma_wide_128(Element{}, d, a, b, add);
    if constexpr (kTokens == 160) wgmma_wide_160(Element{}, d, a, b, add);
    if constexpr (kTokens == 192) wgmma_wide_192(Element{}, d, a, b, add);
  }
}
// clang-format on

}  // namespace outrider::cuda

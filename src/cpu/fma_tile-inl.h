// Per target: y[rows][16] += x[rows][k] w[k][16] with the accumulators in registers, the inner loop of all
// products.
//
// Order of summation: each output element is one chain of fused multiply-adds over ascending k, whatever the
// number of rows, so the result does not depend on what else is in the batch. Tiling: kTileRows x 16 outputs.
// The chains hide the multiply-add's latency (4 cycles, one or two a cycle: at least 8 vectors), one vector
// of w is loaded for kTileRows multiply-adds, x is broadcast from L1. Floor: one multiply-add a vector, i.e.
// rows * k * 16 / (lanes * units) cycles.
#if defined(OUTRIDER_CPU_FMA_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef OUTRIDER_CPU_FMA_TILE_INL_H_
#undef OUTRIDER_CPU_FMA_TILE_INL_H_
#else
#define OUTRIDER_CPU_FMA_TILE_INL_H_
#endif

#include "cpu/codecs-inl.h"
#include "cpu/simd_targets.h"

HWY_BEFORE_NAMESPACE();
namespace outrider::cpu {
namespace HWY_NAMESPACE {

// 12 x 16 outputs fill 12 of 32 AVX-512 registers, 4 x 16 fill 8 of 16 AVX2 registers or 16 of 32 of NEON.
constexpr int kTileRows = kVecs == 1 ? 12 : kVecs == 2 ? 6 : 4;

constexpr int kTileStride = 272;  // floats between rows of x
constexpr int kTileCols = 256;    // k may not exceed this

// kFromZero: y's old content is ignored.
template <int kRows, bool kFromZero>
HWY_INLINE void load_sums(const float* y, int64_t ldy, VF (*acc)[kVecs]) {
  OUTRIDER_UNROLL
  for (int r = 0; r < kRows; ++r) {
    OUTRIDER_UNROLL
    for (int v = 0; v < kVecs; ++v)
      acc[r][v] = kFromZero ? hn::Zero(DF()) : hn::LoadU(DF(), y + r * ldy + v * kLanes);
  }
}

template <int kRows>
HWY_INLINE void add_products(const float* x, const float* w, int k, VF (*acc)[kVecs]) {
  const DF d;
  for (int i = 0; i < k; ++i) {
    VF wv[kVecs];
    OUTRIDER_UNROLL
    for (int v = 0; v < kVecs; ++v) wv[v] = hn::Load(d, w + i * kPanelRows + v * kLanes);
    OUTRIDER_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const VF xv = hn::Set(d, x[r * kTileStride + i]);
      OUTRIDER_UNROLL
      for (int v = 0; v < kVecs; ++v) acc[r][v] = hn::MulAdd(xv, wv[v], acc[r][v]);
    }
  }
}

template <int kRows>
HWY_INLINE void store_sums(const VF (*acc)[kVecs], float* y, int64_t ldy) {
  OUTRIDER_UNROLL
  for (int r = 0; r < kRows; ++r) {
    OUTRIDER_UNROLL
    for (int v = 0; v < kVecs; ++v) hn::StoreU(acc[r][v], DF(), y + r * ldy + v * kLanes);
  }
}

template <int kRows, bool kFromZero>
HWY_INLINE void fma_rows(const float* x, const float* w, int k, float* y, int64_t ldy) {
  VF acc[kRows][kVecs];
  load_sums<kRows, kFromZero>(y, ldy, acc);
  add_products<kRows>(x, w, k, acc);
  store_sums<kRows>(acc, y, ldy);
}

// The same where each 16 columns of w have one scale a row of the weights: scales[k / 16][16]. The sum over a
// block is formed first, then multiplied by the scale: for quantised x it is exact up to there.
template <int kRows, bool kFromZero>
HWY_INLINE void fma_rows_scaled(const float* x, const float* w, const float* scales, int k, float* y,
                                int64_t ldy) {
  VF total[kRows][kVecs];
  load_sums<kRows, kFromZero>(y, ldy, total);
  for (int block = 0; block < k / 16; ++block, x += 16, w += 16 * kPanelRows, scales += kPanelRows) {
    VF acc[kRows][kVecs];
    load_sums<kRows, /*kFromZero=*/true>(nullptr, 0, acc);
    add_products<kRows>(x, w, 16, acc);
    OUTRIDER_UNROLL
    for (int r = 0; r < kRows; ++r) {
      OUTRIDER_UNROLL
      for (int v = 0; v < kVecs; ++v) {
        total[r][v] = hn::MulAdd(acc[r][v], hn::Load(DF(), scales + v * kLanes), total[r][v]);
      }
    }
  }
  store_sums<kRows>(total, y, ldy);
}

template <int kRows, bool kFromZero>
HWY_INLINE void fma_any(const float* x, const float* w, const float* scales, int k, float* y, int64_t ldy) {
  if (scales) {
    fma_rows_scaled<kRows, kFromZero>(x, w, scales, k, y, ldy);
  } else {
    fma_rows<kRows, kFromZero>(x, w, k, y, ldy);
  }
}

// Any number of rows. `w` is 64-byte aligned; `scales` may be null.
template <bool kFromZero>
HWY_NOINLINE void fma_tile(int rows, const float* x, const float* w, const float* scales, int k, float* y,
                           int64_t ldy) {
  int r = 0;
  for (; r + kTileRows <= rows; r += kTileRows) {
    fma_any<kTileRows, kFromZero>(x + r * kTileStride, w, scales, k, y + r * ldy, ldy);
  }
  if constexpr (kTileRows > 4) {
    for (; r + 4 <= rows; r += 4) fma_any<4, kFromZero>(x + r * kTileStride, w, scales, k, y + r * ldy, ldy);
  }
  if (r + 2 <= rows) {
    fma_any<2, kFromZero>(x + r * kTileStride, w, scales, k, y + r * ldy, ldy);
    r += 2;
  }
  if (r < rows) fma_any<1, kFromZero>(x + r * kTileStride, w, scales, k, y + r * ldy, ldy);
}

}  // namespace HWY_NAMESPACE
}  // namespace outrider::cpu
HWY_AFTER_NAMESPACE();

#endif

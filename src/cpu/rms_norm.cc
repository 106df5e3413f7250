// The row is read twice and stays in L1; the sum of squares runs in 16 lanes whatever the vector width, so
// its order depends on n only. n is a multiple of 16. Floor: two reads and a write of the row.
#include "cpu/rms_norm.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/rms_norm.cc"
#include "cpu/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// After foreach_target.
#include "cpu/codecs-inl.h"

HWY_BEFORE_NAMESPACE();
namespace outrider::cpu {
namespace HWY_NAMESPACE {

void rms_norm_row(const float* x, const uint16_t* weight, int n, float eps, float* y) {
  const DF d;
  VF sums[kVecs];
  for (int v = 0; v < kVecs; ++v) sums[v] = hn::Zero(d);
  for (int i = 0; i < n; i += kPanelRows) {
    OUTRIDER_UNROLL
    for (int v = 0; v < kVecs; ++v) {
      const VF xv = hn::LoadU(d, x + i + v * kLanes);
      sums[v] = hn::MulAdd(xv, xv, sums[v]);
    }
  }
  alignas(64) float lanes[kPanelRows];
  for (int v = 0; v < kVecs; ++v) hn::Store(sums[v], d, lanes + v * kLanes);
  double sum = 0.0;
  for (float lane : lanes) sum += lane;
  const VF factor = hn::Set(d, static_cast<float>(1.0 / std::sqrt(sum / n + eps)));
  for (int i = 0; i < n; i += kLanes) {
    const VF normed = hn::Mul(hn::LoadU(d, x + i), factor);
    hn::StoreU(hn::Mul(normed, load_bf16(weight + i)), d, y + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace outrider::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace outrider::cpu {

HWY_EXPORT(rms_norm_row);

void rms_norm(const float* x, const uint16_t* weight, int n, float eps, float* y) {
  HWY_DYNAMIC_DISPATCH(rms_norm_row)(x, weight, n, eps, y);
}

}  // namespace outrider::cpu
#endif  // HWY_ONCE

// Element by element; floor: two reads and a write, about 15 instructions a vector for the exponential.
#include "cpu/silu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/silu.cc"
#include "cpu/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// After foreach_target.
#include "cpu/codecs-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace outrider::cpu {
namespace HWY_NAMESPACE {

void silu_mul_row(const float* gate, const float* up, int n, float* y) {
  const DF d;
  const VF one = hn::Set(d, 1.0f);
  // exp(-g) overflows below -88, where silu(g) is less than 1e-36: the clamp keeps the quotient a number.
  const VF limit = hn::Set(d, 87.0f);
  for (int i = 0; i < n; i += kLanes) {
    const VF g = hn::LoadU(d, gate + i);
    const VF e = hn::Exp(d, hn::Min(hn::Neg(g), limit));
    const VF silu = hn::Div(g, hn::Add(one, e));
    hn::StoreU(hn::Mul(silu, hn::LoadU(d, up + i)), d, y + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace outrider::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace outrider::cpu {

HWY_EXPORT(silu_mul_row);

void silu_mul(const float* gate, const float* up, int n, float* y) {
  HWY_DYNAMIC_DISPATCH(silu_mul_row)(gate, up, n, y);
}

}  // namespace outrider::cpu
#endif  // HWY_ONCE

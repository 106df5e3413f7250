// RMSNorm and SwiGLU: row lengths and bounds.
#pragma once

namespace outrider::test {

inline constexpr int kRowLengths[] = {16, 48, 128, 1024, 5120};

// Relative error of an element: a square root, a division and two or three products of one rounding each.
inline constexpr double kRmsNormBound = 4 * 0x1p-24;

// Relative to |gate * up| + tiny: exponential within 2 ulp, then sum, quotient and product.
inline constexpr double kSiluBound = 8 * 0x1p-24;

}  // namespace outrider::test

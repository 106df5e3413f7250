// Included before hwy/highway.h by every kernel file: which instruction sets are compiled.
// AVX2 and AVX-512 cover x86 servers of the last ten years; older machines take Highway's baseline. On ARM:
// NEON. Fewer targets keep the build short: each one compiles every kernel again.
#pragma once

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | (HWY_AVX3 - 1) | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif

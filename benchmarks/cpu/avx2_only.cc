// Preloaded into a program: Highway's dispatch then sees no AVX-512.
#include <hwy/targets.h>

namespace {
__attribute__((constructor)) void no_avx512() { hwy::DisableTargets(HWY_AVX2 - 1); }
}  // namespace

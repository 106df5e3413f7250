// Runs a check once for each instruction set that was compiled and that this machine has.
#pragma once

#include "cpu/simd_targets.h"
// After the list of targets.
#include <gtest/gtest.h>
#include <hwy/targets.h>

namespace outrider::test {

template <typename Fn>
void for_each_target(const Fn& fn) {
  for (int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    fn();
  }
  hwy::SetSupportedTargetsForTest(0);  // back to the best
}

}  // namespace outrider::test

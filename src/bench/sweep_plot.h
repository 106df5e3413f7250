// A sweep as a picture: throughput per GPU against time per token.
#pragma once

#include <string>
#include <vector>

#include "bench/sweep_report.h"

namespace outrider::bench {

// An SVG with one mark for each point that succeeded, legible on light and on dark screens. At least one
// point must have succeeded.
std::string sweep_svg(const SweepNames& names, const std::vector<SweepPoint>& points);

// Round numbers from 0 to `largest` or a little above: the ticks of an axis, at least two.
std::vector<double> axis_ticks(double largest);

}  // namespace outrider::bench

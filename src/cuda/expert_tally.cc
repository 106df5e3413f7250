#include "cuda/expert_tally.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace outrider::cuda {

std::string ExpertTally::describe(const std::vector<int64_t>& counts, int experts, int64_t steps) {
  double active = 0, busiest = 0, worst = 0;
  int layers = 0;
  for (size_t at = 0; at < counts.size(); at += experts + 1) {
    const auto begin = counts.begin() + static_cast<int64_t>(at);
    const int64_t rows = std::accumulate(begin, begin + experts, int64_t{0});
    if (rows == 0) continue;
    ++layers;
    const double share =
        static_cast<double>(*std::max_element(begin, begin + experts)) / static_cast<double>(rows);
    busiest += share;
    worst = std::max(worst, share);
    active += static_cast<double>(begin[experts]) / static_cast<double>(steps);
  }
  if (layers == 0) return "";
  return fmt::format(
      "Experts over {} steps: {:.2f} of {} have rows in a layer's step; a layer's busiest takes {:.1f} % of "
      "its "
      "rows, in the worst layer {:.1f} % (even: {:.1f} %)",
      steps, active / layers, experts, 100 * busiest / layers, 100 * worst, 100.0 / experts);
}

}  // namespace outrider::cuda

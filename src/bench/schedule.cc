#include "bench/schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace outrider::bench {

double request_rate(const config::TrafficOptions& options, size_t index, size_t count) {
  if (options.ramp_up_strategy.empty()) {
    return options.request_rate.value_or(std::numeric_limits<double>::infinity());
  }
  const double progress = static_cast<double>(index) / static_cast<double>(std::max<size_t>(count, 2) - 1);
  const auto start = static_cast<double>(options.ramp_up_start_rps);
  const auto end = static_cast<double>(options.ramp_up_end_rps);
  return options.ramp_up_strategy == "linear" ? start + (end - start) * progress
                                              : start * std::pow(end / start, progress);
}

std::vector<double> send_times(const config::TrafficOptions& options, size_t count, NumpyLegacy& random) {
  std::vector<double> times(count);
  double now = 0;
  for (size_t i = 0; i < count; ++i) {
    const double rate = request_rate(options, i, count);
    // A ramp from 0 begins with its first request: vLLM's client divides by zero there.
    if (std::isfinite(rate) && rate > 0)
      now += random.gamma(options.burstiness, 1.0 / (rate * options.burstiness));
    times[i] = now;
  }
  if (options.ramp_up_strategy.empty() && now > 0) {
    const double factor = static_cast<double>(count) / *options.request_rate / now;
    for (double& time : times) time *= factor;
  }
  return times;
}

}  // namespace outrider::bench

// When each request is sent.
#pragma once

#include <vector>

#include "bench/numpy_random.h"
#include "config/bench_options.h"

namespace outrider::bench {

// Requests a second that are wanted when request `index` of `count` is sent; infinity: at once.
double request_rate(const config::TrafficOptions& options, size_t index, size_t count);

// Seconds from the start of the run, ascending. Without a ramp they are scaled so that the last is count /
// rate.
std::vector<double> send_times(const config::TrafficOptions& options, size_t count, NumpyLegacy& random);

}  // namespace outrider::bench

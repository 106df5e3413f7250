// The JSON that is posted, byte for byte as vLLM 0.10.2's client writes it.
#pragma once

#include <string>

#include "bench/dataset.h"
#include "config/bench_options.h"

namespace outrider::bench {

// `model`: the name to ask for.
std::string request_body(const config::BenchServeOptions& options, const std::string& model,
                         const SampleRequest& request);

}  // namespace outrider::bench

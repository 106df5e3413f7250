// `outrider bench sweep`: servers of several settings, each under several loads.
#pragma once

#include "bench/serve_bench.h"
#include "config/sweep_options.h"

namespace outrider::bench {

// Prints as it goes and writes the files anew after each
// point. 0: some point succeeded; 1: none did; 130: broken off by a signal. Throws StartupError.
int run_sweep(const config::SweepOptions& options, const TokenizerLoader& load_tokenizer);

}  // namespace outrider::bench

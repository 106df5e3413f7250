// `outrider bench serve`, from options to exit code.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "config/bench_options.h"
#include "tokenizer/tokenizer.h"

namespace outrider::bench {

class LoadGenerator;

using TokenizerLoader = std::function<std::shared_ptr<const tokenizer::Tokenizer>(const std::string& model)>;

// The first model that the server lists. Throws StartupError.
std::string ask_model(const config::BenchServeOptions& options, LoadGenerator& load);

// Prints as it goes. 0: some request succeeded; 1: none did; 130: broken off by a signal. Throws
// StartupError.
int run_serve_bench(const config::BenchServeOptions& options, const TokenizerLoader& load_tokenizer);

}  // namespace outrider::bench

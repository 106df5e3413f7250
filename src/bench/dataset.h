// Prompts and answer lengths, the same as vLLM 0.10.2's client makes of the same options, seed and tokenizer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/numpy_random.h"
#include "config/bench_options.h"
#include "tokenizer/tokenizer.h"

namespace outrider::bench {

struct SampleRequest {
  std::string prompt;
  int64_t prompt_len = 0;  // tokens, as the client counts them
  int64_t output_len = 0;
  std::string request_id;  // empty: none is sent
};

// The generators that data sets and schedule share, in the state that a run begins with.
struct Generators {
  explicit Generators(uint64_t seed) : numpy(static_cast<uint32_t>(seed)), python(seed) {}
  NumpyLegacy numpy;
  PythonRandom python;
};

// Throws StartupError for a file that cannot be read or used.
std::vector<SampleRequest> make_dataset(const config::DatasetOptions& options,
                                        const tokenizer::Tokenizer& tokenizer, Generators& generators);

// For make_dataset: those that are read from files.
std::vector<SampleRequest> sharegpt_dataset(const config::DatasetOptions& options,
                                            const tokenizer::Tokenizer& tokenizer);
std::vector<SampleRequest> custom_dataset(const config::DatasetOptions& options,
                                          const tokenizer::Tokenizer& tokenizer);
std::vector<SampleRequest> sonnet_dataset(const config::DatasetOptions& options,
                                          const tokenizer::Tokenizer& tokenizer, Generators& generators);
std::vector<SampleRequest> burstgpt_dataset(const config::DatasetOptions& options,
                                            const tokenizer::Tokenizer& tokenizer);

}  // namespace outrider::bench

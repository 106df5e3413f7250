// Prompts for an engine of this process, without HTTP.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/interrupt.h"
#include "bench/output_file.h"
#include "config/offline_options.h"
#include "engine/engine.h"
#include "tokenizer/tokenizer.h"

namespace outrider::bench {

struct OfflineRequest {
  std::vector<int32_t> prompt;
  int64_t output_len = 0;  // tokens; the end of a sequence does not end the answer
};

struct OfflineResult {
  double seconds = 0;  // from the first submission to the last token, in text where that was asked for
  int64_t num_finished = 0;
  int64_t prompt_tokens = 0, output_tokens = 0;  // of finished requests
};

// The engine and what is measured with it.
struct OfflineSetup {
  engine::Engine& engine;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;
  int64_t num_answers = 1;  // to each prompt
  bool detokenize = true;
  uint64_t seed = 0;
};

// Submits all at once and waits for the last answer. `advance` is called when a request has ended. Returns
// early after Ctrl-C. Throws StartupError when the engine fails.
OfflineResult run_offline(const OfflineSetup& setup, const std::vector<OfflineRequest>& requests,
                          const Interrupt& interrupt, const std::function<void()>& advance);

struct OfflineReport {
  std::string text;   // vLLM's lines
  config::Json json;  // and its keys
};

// Prints the text and writes the JSON into `file`, which may be null. Throws StartupError.
void publish(const OfflineReport& report, OutputFile* file);

// Throws UsageError where prompt and answer are longer than the model's length.
void check_lengths(const engine::Engine& engine, int64_t prompt_len, int64_t output_len);

}  // namespace outrider::bench

// Compiles what requests ask for into masks of token ids. XGrammar does the work; its headers stay inside
// this module.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sampling/grammar.h"

namespace outrider::grammar {

struct Vocabulary {
  std::vector<std::string> tokens;  // bytes by id; empty: never part of an output (special tokens, gaps)
  int size = 0;                     // of a row of logits: tokens.size() or more
  std::vector<int32_t> end_ids;     // end an output
};

// Caps on what one request, and all of them, may cost.
struct Limits {
  size_t text_bytes = size_t{128} << 10;
  std::chrono::nanoseconds compile_time = std::chrono::seconds(10);  // of a processor
  int threads = 2;
  size_t queue = 256;                      // that wait for a thread
  size_t cache_bytes = size_t{256} << 20;  // of compiled grammars, kept for later requests
  // Of a processor, that following one output may cost: in all, and more for each token.
  std::chrono::nanoseconds base_time = std::chrono::seconds(2);
  std::chrono::nanoseconds token_time = std::chrono::milliseconds(5);
};

// `vocabulary` is called once, on a thread of the compiler, when the first grammar is asked for.
std::unique_ptr<sampling::GrammarCompiler> make_compiler(std::function<Vocabulary()> vocabulary,
                                                         Limits limits = {});

}  // namespace outrider::grammar

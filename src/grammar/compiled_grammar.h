// A grammar compiled for a vocabulary, and the matchers that follow outputs through it.
#pragma once

#include <xgrammar/compiler.h>

#include <memory>

#include "grammar/compiler.h"

namespace outrider::grammar {

class CompiledGrammar final : public sampling::Grammar {
 public:
  CompiledGrammar(xgrammar::CompiledGrammar compiled, const Limits& limits)
      : compiled_(std::move(compiled)), limits_(limits), bytes_(compiled_.MemorySizeBytes()) {}

  std::unique_ptr<sampling::GrammarMatcher> start() const override;
  int mask_words() const override;
  size_t bytes() const { return bytes_; }

 private:
  const xgrammar::CompiledGrammar compiled_;
  const Limits limits_;
  const size_t bytes_;
};

}  // namespace outrider::grammar

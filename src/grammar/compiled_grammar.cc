#include "grammar/compiled_grammar.h"

#include <xgrammar/matcher.h>

#include <stdexcept>

#include "grammar/compilation.h"

namespace outrider::grammar {
namespace {

class Matcher final : public sampling::GrammarMatcher {
 public:
  Matcher(const xgrammar::CompiledGrammar& compiled, const Limits& limits)
      : matcher_(compiled), token_time_(limits.token_time), time_left_(limits.base_time) {}

  void fill(std::span<uint32_t> allowed, bool may_end) override {
    const std::chrono::nanoseconds begin = thread_cpu_time();
    auto words = static_cast<int64_t>(allowed.size());
    DLTensor mask{};
    mask.data = allowed.data();
    mask.device = {kDLCPU, 0};
    mask.ndim = 1;
    mask.dtype = xgrammar::GetBitmaskDLType();
    mask.shape = &words;
    matcher_.FillNextTokenBitmask(&mask);
    if (!may_end) {
      for (const int id : matcher_.GetStopTokenIds()) allowed[id / 32] &= ~(uint32_t{1} << (id % 32));
    }
    spend(begin);
  }

  void accept(int32_t token) override {
    const std::chrono::nanoseconds begin = thread_cpu_time();
    time_left_ += token_time_;
    if (!matcher_.AcceptToken(token))
      throw std::runtime_error("the sampled token does not follow the grammar");
    spend(begin);
  }

  bool complete() const override { return matcher_.IsCompleted(); }

 private:
  // An ambiguous grammar can make each token cost more than the one before.
  void spend(std::chrono::nanoseconds begin) {
    time_left_ -= thread_cpu_time() - begin;
    if (time_left_.count() < 0) throw std::runtime_error("the grammar takes too much time to follow");
  }

  xgrammar::GrammarMatcher matcher_;
  const std::chrono::nanoseconds token_time_;
  std::chrono::nanoseconds time_left_;
};

}  // namespace

std::unique_ptr<sampling::GrammarMatcher> CompiledGrammar::start() const {
  return std::make_unique<Matcher>(compiled_, limits_);
}

int CompiledGrammar::mask_words() const {
  return xgrammar::GetBitmaskSize(compiled_.GetTokenizerInfo().GetVocabSize());
}

}  // namespace outrider::grammar

// A grammar of the fake device's vocabulary: what may come next depends on every output before, so that a
// mask that is late, early or another request's gives other tokens. After `length` outputs the text matches
// and nothing may follow.
#pragma once

#include <memory>
#include <stdexcept>

#include "engine/fake_device.h"
#include "sampling/grammar.h"

namespace outrider::engine {

class FakeGrammar : public sampling::Grammar {
 public:
  enum class End { kMatches, kDeadEnd };
  explicit FakeGrammar(int length, End end = End::kMatches) : length_(length), end_(end) {}

  int mask_words() const override { return 2; }
  std::unique_ptr<sampling::GrammarMatcher> start() const override {
    return std::make_unique<Matcher>(length_, end_);
  }

  // Ids that may end an output wherever the grammar allows them.
  static constexpr int32_t kEndIds[] = {1, 7};

 private:
  class Matcher : public sampling::GrammarMatcher {
   public:
    Matcher(int length, End end) : left_(length), end_(end) {}

    void fill(std::span<uint32_t> allowed, bool may_end) override {
      allowed[0] = allowed[1] = 0;
      if (left_ == 0) return;
      for (int32_t id = 0; id < kVocabulary; ++id) {
        if (may_follow(id)) allowed[id / 32] |= 1u << (id % 32);
      }
      for (int32_t id : kEndIds) {
        if (!may_end) allowed[0] &= ~(1u << id);
      }
    }
    void accept(int32_t token) override {
      if (left_ == 0 || !may_follow(token)) throw std::runtime_error("a token outside the grammar");
      state_ = hash_all({state_, uint64_t(token)});
      --left_;
    }
    bool complete() const override { return left_ == 0 && end_ == End::kMatches; }

   private:
    bool may_follow(int32_t id) const {
      return hash_all({state_, uint64_t(id)}) % 3 == 0 || id == int32_t(8 + state_ % 40);
    }
    uint64_t state_ = 1;
    int left_;
    End end_;
  };

  int length_;
  End end_;
};

}  // namespace outrider::engine

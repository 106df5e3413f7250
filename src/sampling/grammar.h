// What an output must match, as engine and server see it. src/grammar implements this; tests script their
// own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/error.h"

namespace outrider::sampling {

struct GrammarSpec {
  enum class Kind {
    kJsonSchema,     // JSON text of a schema
    kChoice,         // JSON text of a list of strings
    kRegex,          // the whole output matches
    kEbnf,           // GBNF with the rule `root`, or Lark with the rule `start`
    kStructuralTag,  // JSON text, as XGrammar defines it
  };
  Kind kind = Kind::kJsonSchema;
  std::string text;
  std::string field;           // of the request, for errors
  bool any_whitespace = true;  // JSON: free white space between tokens
};

// Follows one output. One thread at a time.
class GrammarMatcher {
 public:
  virtual ~GrammarMatcher() = default;
  // Bits of the ids that may come next; the model's own end-of-sequence ids where the output may end here and
  // `may_end`. Writes all mask_words() words. Throws std::runtime_error when following the output has become
  // too costly.
  virtual void fill(std::span<uint32_t> allowed, bool may_end) = 0;
  // A sampled token that does not end the output. Throws std::runtime_error when the grammar has no place for
  // it.
  virtual void accept(int32_t token) = 0;
  // Whether the output matches as it is.
  virtual bool complete() const = 0;
};

// Immutable: any thread.
class Grammar {
 public:
  virtual ~Grammar() = default;
  virtual std::unique_ptr<GrammarMatcher> start() const = 0;  // for an empty output
  virtual int mask_words() const = 0;
};

// Any thread.
class GrammarCompiler {
 public:
  virtual ~GrammarCompiler() = default;
  // Calls `done` once, on a thread of its own, with a grammar or with what is wrong with the request.
  using Done = std::function<void(std::shared_ptr<const Grammar>, std::optional<RequestError>)>;
  virtual void compile(GrammarSpec spec, Done done) = 0;
};

}  // namespace outrider::sampling

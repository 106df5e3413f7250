// What structured outputs cost: usage: bench_grammar TOKENIZER_FOLDER. For each form the time to compile it,
// and the time of its matcher a token (the mask, and taking the token), over outputs whose tokens are drawn
// evenly from the masks.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <future>
#include <random>

#include "grammar/compiler.h"
#include "tokenizer/tokenizer.h"

namespace {

using Clock = std::chrono::steady_clock;
using outrider::sampling::GrammarSpec;

constexpr int kTokens = 2000;

double since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::shared_ptr<const outrider::sampling::Grammar> compile(outrider::sampling::GrammarCompiler& compiler,
                                                           GrammarSpec spec) {
  std::promise<std::shared_ptr<const outrider::sampling::Grammar>> done;
  compiler.compile(std::move(spec), [&](auto grammar, const auto& error) {
    if (error) std::printf("%s\n", error->what());
    done.set_value(std::move(grammar));
  });
  return done.get_future().get();
}

// Seconds of each token, sorted.
std::vector<double> follow(const outrider::sampling::Grammar& grammar, int vocab) {
  std::vector<double> seconds;
  std::vector<uint32_t> mask(static_cast<size_t>(grammar.mask_words()));
  std::mt19937 random(1);
  while (static_cast<int>(seconds.size()) < kTokens) {
    const auto matcher = grammar.start();
    for (;;) {
      const Clock::time_point begin = Clock::now();
      matcher->fill(mask, false);
      double spent = since(begin);
      std::vector<int> ids;
      for (int id = 0; id < vocab; ++id) {
        if ((mask[id / 32] >> (id % 32) & 1) != 0) ids.push_back(id);
      }
      if (ids.empty() || static_cast<int>(seconds.size()) == kTokens) break;
      const Clock::time_point taken = Clock::now();
      matcher->accept(ids[random() % ids.size()]);
      seconds.push_back(spent + since(taken));
    }
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: bench_grammar TOKENIZER_FOLDER\n"), 2;
  const auto tokenizer = outrider::tokenizer::Tokenizer::load(argv[1]);
  const int vocab = tokenizer->size();
  const auto compiler = outrider::grammar::make_compiler([&] {
    outrider::grammar::Vocabulary vocabulary{.tokens = {}, .size = vocab, .end_ids = {tokenizer->eos_id()}};
    for (int id = 0; id < vocab; ++id) {
      vocabulary.tokens.emplace_back(tokenizer->is_special(id) ? std::string_view()
                                                               : tokenizer->token_bytes(id));
    }
    return vocabulary;
  });
  compile(*compiler, {GrammarSpec::Kind::kRegex, "a", "first"});  // reads the vocabulary
  const std::pair<const char*, GrammarSpec> forms[] = {
      {"person schema",
       {GrammarSpec::Kind::kJsonSchema,
        R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},"tags":{"type":"array",
                            "items":{"type":"string"}},"address":{"type":"object","properties":{"street":{"type":"string"},
                            "city":{"enum":["Paris","Rome"]}},"required":["street"]}},"required":["name","age"]})",
        "schema"}},
      {"any JSON object",
       {GrammarSpec::Kind::kJsonSchema, R"({"type":"object","additionalProperties":true})", "schema"}},
      {"regex of a date", {GrammarSpec::Kind::kRegex, "\\d{4}-\\d{2}-\\d{2}", "regex"}},
  };
  std::printf("%d tokens\n| form | compile, ms | us a token: median | mean | 99%% |\n|---|---|---|---|---|\n",
              vocab);
  for (const auto& [name, spec] : forms) {
    const Clock::time_point begin = Clock::now();
    const auto grammar = compile(*compiler, spec);
    const double compiled = since(begin);
    if (!grammar) return 1;
    const std::vector<double> seconds = follow(*grammar, vocab);
    double total = 0;
    for (const double s : seconds) total += s;
    std::printf("| %s | %.1f | %.1f | %.1f | %.1f |\n", name, compiled * 1e3, seconds[kTokens / 2] * 1e6,
                total / kTokens * 1e6, seconds[kTokens * 99 / 100] * 1e6);
  }
  return 0;
}

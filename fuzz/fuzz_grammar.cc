// A letter for the kind, then any text as a JSON schema, a list of choices, a regex, a grammar or a
// structural tag. What compiles is followed along random tokens that its masks allow.
#include <cstddef>
#include <cstdint>
#include <future>
#include <random>
#include <stdexcept>

#include "grammar/compiler.h"

namespace {

using namespace outrider;
using Kind = sampling::GrammarSpec::Kind;

constexpr int kSpecial = 260, kEnd = 261, kRow = 290;  // kSpecial and what lies behind kEnd are no text
constexpr int kSteps = 24;

grammar::Vocabulary vocabulary() {
  grammar::Vocabulary result{.tokens = {}, .size = kRow, .end_ids = {kEnd}};
  for (int byte = 0; byte < 256; ++byte) result.tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* longer : {"{\"", "\":", "12", "\xe4\xb8"}) result.tokens.emplace_back(longer);
  result.tokens.resize(kEnd + 1);
  return result;
}

// Nothing is kept from one input to the next.
sampling::GrammarCompiler& compiler() {
  grammar::Limits limits;
  limits.compile_time = limits.base_time = std::chrono::seconds(1);
  limits.threads = 1;
  limits.cache_bytes = 0;
  static const auto instance = grammar::make_compiler(vocabulary, limits);
  return *instance;
}

sampling::GrammarSpec spec_of(const uint8_t* data, size_t size) {
  sampling::GrammarSpec spec{.kind = Kind::kJsonSchema, .text = {}, .field = "field"};
  switch (data[0]) {
    case 'c':
      spec.kind = Kind::kChoice;
      break;
    case 'e':
      spec.kind = Kind::kEbnf;
      break;
    case 'r':
      spec.kind = Kind::kRegex;
      break;
    case 't':
      spec.kind = Kind::kStructuralTag;
      break;
    default:
      spec.any_whitespace = data[0] == 's';
  }
  spec.text.assign(reinterpret_cast<const char*>(data + 1), size - 1);
  return spec;
}

void check_error(const RequestError& error) {
  const std::string line = error.what();
  if (error.status() != 400 || !line.starts_with("`field`: ") || line.find('\n') != std::string::npos)
    __builtin_trap();
}

// Ids that may come next. Text, or the end where the output is complete.
std::vector<int32_t> next_ids(const sampling::Grammar& grammar, sampling::GrammarMatcher& matcher) {
  std::vector<uint32_t> mask(grammar.mask_words());
  matcher.fill(mask, /*may_end=*/true);
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < kRow; ++id) {
    if ((mask[id / 32] >> (id % 32) & 1) != 0) ids.push_back(id);
  }
  const bool may_end = std::erase(ids, kEnd) > 0;
  if (may_end != matcher.complete() || (!ids.empty() && ids.back() >= kSpecial)) __builtin_trap();
  return ids;
}

void follow(const sampling::Grammar& grammar, unsigned seed) {
  std::minstd_rand random(seed);
  const auto matcher = grammar.start();
  for (int step = 0; step < kSteps; ++step) {
    const std::vector<int32_t> ids = next_ids(grammar, *matcher);
    if (ids.empty()) return;
    matcher->accept(ids[random() % ids.size()]);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::promise<std::shared_ptr<const sampling::Grammar>> compiled;
  compiler().compile(spec_of(data, size), [&](auto grammar, const auto& error) {
    if ((grammar == nullptr) != error.has_value()) __builtin_trap();
    if (error) check_error(*error);
    compiled.set_value(std::move(grammar));
  });
  const auto grammar = compiled.get_future().get();
  if (grammar == nullptr) return 0;
  try {
    follow(*grammar, static_cast<unsigned>(size));
  } catch (const std::runtime_error& error) {  // an allowed token is taken: it may only take too long
    if (std::string_view(error.what()).find("too much time") == std::string_view::npos) __builtin_trap();
  }
  return 0;
}

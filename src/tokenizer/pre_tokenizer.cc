#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/pre_tokenizer.h"

#include <pcre2.h>

#include <array>
#include <new>

#include "base/error.h"

namespace outrider::tokenizer {
namespace {

constexpr size_t kMaxPatternBytes = 64 * 1024;
constexpr uint32_t kMatchLimit =
    20'000'000;  // backtracking steps of one match; a megabyte of one letter needs 2e6
constexpr uint32_t kHeapLimitKiB = 128 * 1024;  // only without JIT

std::string error_text(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

// `pattern` as Oniguruma, which Hugging Face tokenizers use, understands it, for PCRE2: there \s is Unicode's
// White_Space, here it would take U+180E too.
std::string to_pcre2(std::string_view pattern) {
  constexpr std::string_view kSpaces = R"(\p{Z}\x09-\x0d\x85)";
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      if (next == 's') {
        out += in_class ? std::string(kSpaces) : "[" + std::string(kSpaces) + "]";
      } else if (next == 'S' && !in_class) {
        out += "[^" + std::string(kSpaces) + "]";
      } else {
        out += {c, next};
      }
      continue;
    }
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    out += c;
  }
  return out;
}

}  // namespace

struct PreTokenizer::Impl {
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::unique_ptr<pcre2_match_context, FreeMatchContext> limits;
};

PreTokenizer::PreTokenizer(const std::string& pattern, const std::string& origin)
    : impl_(std::make_unique<Impl>()) {
  if (pattern.size() > kMaxPatternBytes)
    throw CheckpointError(origin + ": the pre-tokenizer's pattern is too long");
  const std::string translated = to_pcre2(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  impl_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
  if (!impl_->code) {
    throw CheckpointError(origin + ": the pre-tokenizer's pattern does not compile: " + error_text(error) +
                          " (at byte " + std::to_string(offset) + ")");
  }
  // Without JIT (no executable memory to be had) matching is slower but the same.
  pcre2_jit_compile(impl_->code.get(), PCRE2_JIT_COMPLETE);
  impl_->limits.reset(pcre2_match_context_create(nullptr));
  if (!impl_->limits) throw std::bad_alloc();
  pcre2_set_match_limit(impl_->limits.get(), kMatchLimit);
  pcre2_set_heap_limit(impl_->limits.get(), kHeapLimitKiB);
}

PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;

PreTokenizer::Pass::Pass(const PreTokenizer& parent, std::string_view text)
    : parent_(parent), text_(text), match_data_(pcre2_match_data_create(1, nullptr)) {
  if (match_data_ == nullptr) throw std::bad_alloc();
}

PreTokenizer::Pass::~Pass() { pcre2_match_data_free(static_cast<pcre2_match_data*>(match_data_)); }

std::string_view PreTokenizer::Pass::next() {
  if (at_ == text_.size()) return {};
  if (match_end_ <= at_) {
    auto* data = static_cast<pcre2_match_data*>(match_data_);
    const auto match = [&](uint32_t options) {
      // The text is known to be UTF-8: checking it again at each match would be quadratic.
      return pcre2_match(parent_.impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(),
                         at_, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | options, data,
                         parent_.impl_->limits.get());
    };
    int result = match(0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_JIT);
    match_begin_ = match_end_ = text_.size();
    if (result >= 0) {
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data);
      if (range[0] >= at_ && range[1] > range[0]) {
        match_begin_ = range[0];
        match_end_ = range[1];
      }
    } else if (result != PCRE2_ERROR_NOMATCH) {
      throw RequestError("the text cannot be tokenized: the tokenizer's pattern gave up (" +
                         error_text(result) + ")");
    }
  }
  const size_t begin = at_;
  at_ = begin < match_begin_ ? match_begin_ : match_end_;
  return text_.substr(begin, at_ - begin);
}

}  // namespace outrider::tokenizer

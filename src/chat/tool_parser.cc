#include "chat/tool_parser.h"

#include <algorithm>
#include <iterator>

#include "chat/tool_calls.h"

namespace outrider::chat {
namespace {

struct NamedFormat {
  std::string_view name;
  ToolFormat format;
};
constexpr NamedFormat kParsers[] = {{"llama4_json", ToolFormat::kJson},
                                    {"llama3_json", ToolFormat::kJson},
                                    {"llama4_pythonic", ToolFormat::kPythonic},
                                    {"pythonic", ToolFormat::kPythonic}};

constexpr std::string_view kMarkers[] = {"<|python_start|>", "<|python_end|>", "<|python_tag|>"};
constexpr std::string_view kSpace = " \t\r\n";

bool is_space(char c) { return kSpace.find(c) != std::string_view::npos; }

}  // namespace

std::optional<ToolFormat> tool_format(std::string_view parser_name) {
  for (const NamedFormat& parser : kParsers) {
    if (parser.name == parser_name) return parser.format;
  }
  return std::nullopt;
}

std::vector<std::string> tool_parser_names() {
  std::vector<std::string> names;
  for (const NamedFormat& parser : kParsers) names.emplace_back(parser.name);
  return names;
}

// The text not yet decided upon is text_: first `glue` (white space, markers, separators), which is dropped
// before and after a call and is content elsewhere; then perhaps a candidate, an open bracket that may become
// calls.
struct ToolStream::Impl {
  explicit Impl(ToolFormat format) : format(format) {}

  void run(bool final, ToolDelta& delta);

  ToolFormat format;
  std::string text;
  int calls = 0;

 private:
  bool step(bool final, ToolDelta& delta);  // false: needs more text
  bool step_marker(bool final, ToolDelta& delta);
  bool step_candidate(bool final, ToolDelta& delta);
  Head head(bool final, Syntax& syntax) const;
  bool pythonic_may_start() const;
  void take_glue(size_t size) { at_ += size; }
  void emit_content(size_t end, ToolDelta& delta);
  void emit_calls(std::vector<ToolCall> found, ToolDelta& delta);
  std::string_view glue() const { return std::string_view(text).substr(glue_begin_, at_ - glue_begin_); }

  size_t glue_begin_ = 0;
  size_t at_ = 0;  // end of the glue
  std::optional<BracketScanner> candidate_;
  Syntax candidate_syntax_ = Syntax::kJson;
  bool after_call_ = false;    // nothing but glue since the last call
  bool content_seen_ = false;  // more than white space
  char last_content_ = '\n';   // last byte of content that is not white space
  std::string gap_;            // white space that stood between content and the last run of calls
};

void ToolStream::Impl::run(bool final, ToolDelta& delta) {
  while (at_ < text.size() && step(final, delta)) {
  }
  if (final && at_ == text.size()) {
    if (!after_call_) emit_content(at_, delta);
    glue_begin_ = at_;
  }
  text.erase(0, glue_begin_);
  at_ -= glue_begin_;
  glue_begin_ = 0;
}

bool ToolStream::Impl::step(bool final, ToolDelta& delta) {
  if (candidate_) return step_candidate(final, delta);
  const char c = text[at_];
  if (is_space(c) || (after_call_ && (c == ';' || c == ','))) {
    take_glue(1);
    return true;
  }
  if (c == '<') return step_marker(final, delta);
  if (c == '[' || c == '{') {
    switch (head(final, candidate_syntax_)) {
      case Head::kMaybe:
        if (!final) return false;
        break;
      case Head::kCalls:
        candidate_.emplace(candidate_syntax_);
        return true;
      case Head::kNo:
        break;
    }
  }
  emit_content(std::min(text.find_first_of(" \t\r\n<[{", at_ + 1), text.size()), delta);
  return true;
}

bool ToolStream::Impl::step_marker(bool final, ToolDelta& delta) {
  const auto rest = std::string_view(text).substr(at_);
  for (const std::string_view marker : kMarkers) {
    if (rest.substr(0, marker.size()) == marker) {
      take_glue(marker.size());
      return true;
    }
    if (!final && marker.substr(0, rest.size()) == rest) return false;
  }
  emit_content(at_ + 1, delta);
  return true;
}

// Pythonic lists look like ordinary code: not every place in a text will do.
bool ToolStream::Impl::pythonic_may_start() const {
  if (!content_seen_ || after_call_ || glue().find_first_of("\n<") != std::string_view::npos) return true;
  return std::string_view(".:!?;").find(last_content_) != std::string_view::npos ||
         static_cast<unsigned char>(last_content_) >= 0x80;  // punctuation of other scripts
}

Head ToolStream::Impl::head(bool final, Syntax& syntax) const {
  const auto rest = std::string_view(text).substr(at_);
  const bool json = format == ToolFormat::kJson || !content_seen_;
  const bool pythonic = format == ToolFormat::kPythonic && pythonic_may_start();
  const Head as_json = json ? json_head(rest) : Head::kNo;
  const Head as_pythonic = pythonic ? pythonic_head(rest) : Head::kNo;
  syntax = as_pythonic == Head::kCalls ? Syntax::kPython : Syntax::kJson;
  if (as_json == Head::kCalls || as_pythonic == Head::kCalls) return Head::kCalls;
  return !final && (as_json == Head::kMaybe || as_pythonic == Head::kMaybe) ? Head::kMaybe : Head::kNo;
}

bool ToolStream::Impl::step_candidate(bool final, ToolDelta& delta) {
  const auto rest = std::string_view(text).substr(at_);
  const auto state = candidate_->scan(rest, final);
  if (state == BracketScanner::State::kOpen && !final) return false;
  const size_t size = candidate_->position();
  candidate_.reset();
  std::vector<ToolCall> found;
  const bool ensure_ascii = format == ToolFormat::kPythonic;  // as vLLM's two parsers write their arguments
  if (state == BracketScanner::State::kClosed &&
      parse_calls(rest.substr(0, size), candidate_syntax_, ensure_ascii, found)) {
    emit_calls(std::move(found), delta);
    at_ += size;
    glue_begin_ = at_;
  } else {
    emit_content(at_ + size, delta);
  }
  return true;
}

// The glue and text[at_, end).
void ToolStream::Impl::emit_content(size_t end, ToolDelta& delta) {
  if (after_call_) {
    if (content_seen_) delta.content += gap_;
    after_call_ = false;
  } else {
    delta.content += glue();
  }
  const auto content = std::string_view(text).substr(at_, end - at_);
  delta.content += content;
  // Markers that turned out to be content count too, as in "<|python_start|>print(1)".
  const auto all = std::string_view(text).substr(glue_begin_, end - glue_begin_);
  if (const size_t last = all.find_last_not_of(kSpace); last != std::string_view::npos) {
    content_seen_ = true;
    last_content_ = all[last];
  }
  at_ = end;
  glue_begin_ = end;
}

void ToolStream::Impl::emit_calls(std::vector<ToolCall> found, ToolDelta& delta) {
  if (!after_call_) {
    gap_.clear();
    std::copy_if(glue().begin(), glue().end(), std::back_inserter(gap_), is_space);
  }
  after_call_ = true;
  for (ToolCall& call : found)
    delta.calls.push_back({calls++, std::move(call.name), std::move(call.arguments)});
}

ToolStream::ToolStream(ToolFormat format) : impl_(std::make_unique<Impl>(format)) {}
ToolStream::~ToolStream() = default;

ToolDelta ToolStream::push(std::string_view text) {
  ToolDelta delta;
  impl_->text += text;
  impl_->run(false, delta);
  return delta;
}

ToolDelta ToolStream::finish() {
  ToolDelta delta;
  impl_->run(true, delta);
  return delta;
}

bool ToolStream::saw_calls() const { return impl_->calls > 0; }

ParsedReply parse_reply(ToolFormat format, std::string_view text) {
  ToolStream stream(format);
  ToolDelta delta = stream.push(text);
  ToolDelta rest = stream.finish();
  ParsedReply reply;
  reply.content = delta.content + rest.content;
  for (ToolDelta* part : {&delta, &rest}) {
    for (auto& call : part->calls) reply.calls.push_back({std::move(call.name), std::move(call.arguments)});
  }
  return reply;
}

}  // namespace outrider::chat

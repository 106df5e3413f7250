#include "chat/tool_calls.h"

#include <algorithm>

#include "base/json_string.h"

namespace outrider::chat {
namespace {

constexpr size_t kMaxHeadBytes = 256;  // bounds what is read again as text grows
constexpr std::string_view kNameLetters = ".-";

bool is_function_name(std::string_view name) {
  return !name.empty() &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
             std::string_view::npos;
}

// name(key=value, ...)
bool pythonic_call(LiteralReader& reader, bool ensure_ascii, ToolCall& call) {
  call.name = reader.word(kNameLetters);
  if (!is_function_name(call.name) || !reader.take('(')) return false;
  std::vector<std::string> keys;
  call.arguments = "{";
  bool comma = true;
  while (!reader.take(')')) {
    const std::string key(reader.word("-"));
    if (!comma || key.empty() || !reader.take('=')) return false;
    if (!keys.empty()) call.arguments += ", ";
    append_json_string(call.arguments, key, ensure_ascii);
    call.arguments += ": ";
    if (!reader.value(call.arguments)) return false;
    keys.push_back(key);
    comma = reader.take(',');
  }
  call.arguments += "}";
  std::sort(keys.begin(), keys.end());
  return std::adjacent_find(keys.begin(), keys.end()) == keys.end();
}

bool pythonic_calls(std::string_view text, bool ensure_ascii, std::vector<ToolCall>& out) {
  LiteralReader reader(text, Syntax::kPython, ensure_ascii);
  if (!reader.take('[')) return false;
  bool comma = true;
  while (!reader.take(']')) {
    ToolCall call;
    if (!comma || !pythonic_call(reader, ensure_ascii, call)) return false;
    out.push_back(std::move(call));
    comma = reader.take(',');
  }
  return reader.at_end() && !out.empty();
}

const std::string* find(const std::vector<Member>& members, std::string_view key) {
  const auto it = std::find_if(members.begin(), members.end(), [&](const Member& m) { return m.key == key; });
  return it == members.end() ? nullptr : &it->json;
}

// {"name": ..., "parameters" or "arguments": {...}}, where the arguments may also be the text of an object;
// or that under the key "function", as tools are written.
bool json_call(const std::vector<Member>& members, bool ensure_ascii, ToolCall& call) {
  const std::string* inner = find(members, "function");
  std::vector<Member> function;
  if (inner != nullptr && (*inner)[0] == '{') {
    if (!LiteralReader(*inner, Syntax::kJson, ensure_ascii).members(function)) return false;
  }
  const std::vector<Member>& source = function.empty() ? members : function;
  const std::string* name = find(source, "name");
  const std::string* arguments = find(source, "arguments");
  if (arguments == nullptr) arguments = find(source, "parameters");
  if (name == nullptr || arguments == nullptr) return false;
  if (!LiteralReader(*name, Syntax::kJson, ensure_ascii).string(call.name) || call.name.empty()) return false;
  call.arguments = *arguments;
  std::string text;
  if (LiteralReader(*arguments, Syntax::kJson, ensure_ascii).string(text)) {
    LiteralReader reader(text, Syntax::kJson, ensure_ascii);
    call.arguments.clear();
    if (!reader.value(call.arguments) || !reader.at_end()) return false;
  }
  return call.arguments[0] == '{';
}

bool json_calls(std::string_view text, bool ensure_ascii, std::vector<ToolCall>& out) {
  LiteralReader reader(text, Syntax::kJson, ensure_ascii);
  const bool list = reader.take('[');
  bool more = true;
  while (more) {
    std::vector<Member> members;
    ToolCall call;
    if (!reader.members(members) || !json_call(members, ensure_ascii, call)) return false;
    out.push_back(std::move(call));
    more = list && reader.take(',');
  }
  return (!list || reader.take(']')) && reader.at_end();
}

}  // namespace

bool parse_calls(std::string_view text, Syntax syntax, bool ensure_ascii, std::vector<ToolCall>& out) {
  std::vector<ToolCall> calls;
  const bool parsed = syntax == Syntax::kPython ? pythonic_calls(text, ensure_ascii, calls)
                                                : json_calls(text, ensure_ascii, calls);
  if (!parsed) return false;
  std::move(calls.begin(), calls.end(), std::back_inserter(out));
  return true;
}

Head pythonic_head(std::string_view text) {
  const std::string_view start = text.substr(0, kMaxHeadBytes);
  LiteralReader reader(start, Syntax::kPython, false);
  const Head at_end = text.size() < kMaxHeadBytes ? Head::kMaybe : Head::kNo;
  if (!reader.take('[')) return Head::kNo;
  const std::string_view name = reader.word(kNameLetters);
  if (!name.empty() && !is_function_name(name)) return Head::kNo;
  if (reader.at_end()) return at_end;
  return !name.empty() && reader.take('(') ? Head::kCalls : Head::kNo;
}

Head json_head(std::string_view text) {
  constexpr std::string_view kFirstKeys[] = {"name", "parameters", "arguments", "type", "id", "function"};
  const std::string_view start = text.substr(0, kMaxHeadBytes);
  LiteralReader reader(start, Syntax::kJson, false);
  const Head at_end = text.size() < kMaxHeadBytes ? Head::kMaybe : Head::kNo;
  if (reader.take('[') && reader.at_end()) return at_end;
  if (!reader.take('{')) return Head::kNo;
  if (reader.at_end()) return at_end;
  if (!reader.take('"')) return Head::kNo;
  const std::string_view key = reader.word("");
  for (const std::string_view first : kFirstKeys) {
    if (key == first && reader.take('"')) return Head::kCalls;
    if (first.substr(0, key.size()) == key && reader.at_end()) return at_end;
  }
  return Head::kNo;
}

BracketScanner::State BracketScanner::scan(std::string_view text, bool final) {
  while (at_ < text.size()) {
    const char c = text[at_];
    if (quote_ != '\0') {
      if (!scan_string(text, final)) return State::kOpen;
      continue;
    }
    if (c == '"' || (c == '\'' && syntax_ == Syntax::kPython)) {
      if (!scan_quote(text, final)) return State::kOpen;
      continue;
    }
    if (c == '[' || c == '{' || c == '(') {
      if (depth_ == closers_.size()) return State::kBroken;
      closers_[depth_++] = c == '[' ? ']' : c == '{' ? '}' : ')';
    } else if (c == ']' || c == '}' || c == ')') {
      if (closers_[depth_ - 1] != c) return State::kBroken;
      --depth_;
    }
    ++at_;
    if (depth_ == 0) return State::kClosed;
  }
  return State::kOpen;
}

// At an opening quote: one, or three in Python.
bool BracketScanner::scan_quote(std::string_view text, bool final) {
  const char c = text[at_];
  size_t run = 1;
  if (syntax_ == Syntax::kPython) {
    while (run < 3 && at_ + run < text.size() && text[at_ + run] == c) ++run;
    if (run < 3 && at_ + run == text.size() && !final) return false;
  }
  if (run != 2) {  // two are an empty string
    quote_ = c;
    triple_ = run == 3;
  }
  at_ += run;
  return true;
}

bool BracketScanner::scan_string(std::string_view text, bool final) {
  const char c = text[at_];
  if (c == '\\') {
    if (at_ + 1 == text.size() && !final) return false;
    at_ = std::min(at_ + 2, text.size());
    return true;
  }
  if (c != quote_) {
    ++at_;
    return true;
  }
  const size_t wanted = triple_ ? 3 : 1;
  const std::string_view found = text.substr(at_, wanted);
  const bool all_quotes = found.find_first_not_of(quote_) == std::string_view::npos;
  if (all_quotes && found.size() < wanted && !final) return false;
  if (all_quotes && found.size() == wanted) {
    at_ += wanted;
    quote_ = '\0';
  } else {
    ++at_;
  }
  return true;
}

}  // namespace outrider::chat

// Tool calls in a model's text, whole and streamed. Formats: "llama4_pythonic" ([f(a=1)]) and "llama4_json"
// ({"name": "f", "parameters": {...}}); "pythonic" and "llama3_json" are other names of the same two.
//
// Calls are found at the start of a reply and after other text, which stays content: pythonic lists at the
// start of a line or after punctuation, JSON calls anywhere (by the pythonic parser: only where no other text
// came before). The white space, "<|python_start|>" and its kin around a call are dropped. A list that is not
// made of calls with keyword arguments and literal values is content.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace outrider::chat {

struct ToolCall {
  std::string name;
  std::string arguments;  // JSON text
};

struct ParsedReply {
  std::string content;  // text outside calls; the whole text when nothing parsed
  std::vector<ToolCall> calls;
};

enum class ToolFormat { kPythonic, kJson };

// Null for an unknown parser name; `tool_parser_names` lists the known ones.
std::optional<ToolFormat> tool_format(std::string_view parser_name);
std::vector<std::string> tool_parser_names();

// Never throws: a reply that does not parse is content.
ParsedReply parse_reply(ToolFormat format, std::string_view text);

// Feeds text as it comes; returns what may be sent. Joining all deltas equals parse_reply of the whole text.
// Text that can be no call is returned at once; a call comes whole, when its last bracket closes. Takes time
// in proportion.
struct ToolDelta {
  std::string content;
  struct Call {
    int index = 0;
    std::string name;       // set in the first delta of a call
    std::string arguments;  // a piece of the JSON text
  };
  std::vector<Call> calls;
};
class ToolStream {
 public:
  explicit ToolStream(ToolFormat format);
  ~ToolStream();
  ToolDelta push(std::string_view text);
  ToolDelta finish();
  bool saw_calls() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace outrider::chat

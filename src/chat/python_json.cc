#include "chat/python_json.h"

#include "base/error.h"
#include "base/python_float.h"
#include "base/text.h"
#include "base/utf8.h"
#include "chat/llama4_chat.h"

namespace outrider::chat {
namespace {

constexpr int kMaxDepth = 256;

void append_hex_escape(std::string& out, uint32_t code_unit) {
  out += "\\u";
  append_hex(out, code_unit, 4);
}

// The letter of a two-character escape, 0 when there is none.
char short_escape(uint32_t code_point) {
  switch (code_point) {
    case '"':
    case '\\':
      return static_cast<char>(code_point);
    case '\b':
      return 'b';
    case '\f':
      return 'f';
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    default:
      return 0;
  }
}

class Writer {
 public:
  Writer(std::string& out, int indent, bool ensure_ascii)
      : out_(out), indent_(indent), ensure_ascii_(ensure_ascii) {}

  void write(const Json& value) {
    switch (value.type()) {
      case Json::value_t::object:
        return write_object(value);
      case Json::value_t::array:
        return write_array(value);
      case Json::value_t::string:
        return append_python_string(out_, value.get_ref<const std::string&>(), ensure_ascii_);
      case Json::value_t::boolean:
        out_ += value.get<bool>() ? "true" : "false";
        return;
      case Json::value_t::number_integer:
        out_ += std::to_string(value.get<int64_t>());
        return;
      case Json::value_t::number_unsigned:
        out_ += std::to_string(value.get<uint64_t>());
        return;
      case Json::value_t::number_float:
        out_ += python_float(value.get<double>());
        return;
      default:
        out_ += "null";
    }
  }

 private:
  void write_object(const Json& object) {
    open('{');
    bool first = true;
    for (const auto& [key, value] : object.items()) {
      separate(first);
      append_python_string(out_, key, ensure_ascii_);
      out_ += ": ";
      write(value);
      first = false;
    }
    close('}', first);
  }

  void write_array(const Json& array) {
    open('[');
    bool first = true;
    for (const Json& value : array) {
      separate(first);
      write(value);
      first = false;
    }
    close(']', first);
  }

  void open(char bracket) {
    if (++depth_ > kMaxDepth) {
      throw RequestError("JSON in messages or tools is nested more than " + std::to_string(kMaxDepth) +
                         " levels deep");
    }
    out_ += bracket;
  }

  void separate(bool first) {
    if (!first) out_ += indent_ < 0 ? ", " : ",";
    new_line(depth_);
  }

  void close(char bracket, bool empty) {
    --depth_;
    if (!empty) new_line(depth_);
    out_ += bracket;
  }

  void new_line(int depth) {
    if (indent_ < 0) return;
    out_ += '\n';
    out_.append(static_cast<size_t>(indent_) * depth, ' ');
  }

  std::string& out_;
  int indent_;
  bool ensure_ascii_;
  int depth_ = 0;
};

}  // namespace

void append_python_string(std::string& out, std::string_view text, bool ensure_ascii) {
  out += '"';
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    const uint32_t c = step.code_point;
    if (const char letter = short_escape(c)) {
      out += {'\\', letter};
    } else if (c < 0x20 || (ensure_ascii && c >= 0x7F && c < 0x10000)) {
      append_hex_escape(out, c);
    } else if (ensure_ascii && c >= 0x10000) {
      append_hex_escape(out, 0xD800 + ((c - 0x10000) >> 10));
      append_hex_escape(out, 0xDC00 + ((c - 0x10000) & 0x3FF));
    } else {
      append_utf8(out, c);
    }
    text.remove_prefix(step.length);
  }
  out += '"';
}

std::string python_json(const Json& value, int indent, bool ensure_ascii) {
  std::string out;
  Writer(out, indent, ensure_ascii).write(value);
  return out;
}

}  // namespace outrider::chat

#include "chat/python_json.h"

#include "base/error.h"
#include "base/json_string.h"
#include "base/python_float.h"

namespace outrider::chat {
namespace {

constexpr int kMaxDepth = 256;

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
        return append_json_string(out_, value.get_ref<const std::string&>(), ensure_ascii_);
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
      append_json_string(out_, key, ensure_ascii_);
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

std::string python_json(const Json& value, int indent, bool ensure_ascii) {
  std::string out;
  Writer(out, indent, ensure_ascii).write(value);
  return out;
}

}  // namespace outrider::chat

#include "config/yaml.h"

#include <yaml.h>

#include <charconv>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace outrider::config {
namespace {

constexpr int kMaxDepth = 32;
constexpr size_t kMaxNodes = 100'000;

// 12, -3, 1_000, 0x1F and 017, as YAML 1.1 has it.
std::optional<int64_t> plain_int(std::string_view text) {
  std::string digits;
  for (const char c : text) {
    if (c != '_') digits += c;
  }
  const bool negative = digits.rfind('-', 0) == 0;
  if (negative || digits.rfind('+', 0) == 0) digits.erase(0, 1);
  int base = 10;
  if (digits.size() > 1 && digits[0] == '0') {
    base = digits[1] == 'x' ? 16 : 8;
    digits.erase(0, base == 16 ? 2 : 1);
  }
  if (digits.empty() || digits[0] == '-' || text.front() == '_') return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return negative ? -value : value;
}

// 0.9, -1.5e+3: a dot is needed, so that 1e3 stays text as in PyYAML.
std::optional<double> plain_float(std::string_view text) {
  if (text.find('.') == std::string_view::npos) return std::nullopt;
  if (text.front() == '+') text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

Json plain_scalar(const std::string& text) {
  const std::string word = lower_case(text);
  if (word.empty() || word == "~" || word == "null") return nullptr;
  if (word == "true" || word == "yes" || word == "on") return true;
  if (word == "false" || word == "no" || word == "off") return false;
  if (const auto value = plain_int(text)) return *value;
  if (const auto value = plain_float(text)) return *value;
  return text;
}

class Event {
 public:
  explicit Event(yaml_parser_t& parser, const std::string& name) {
    if (yaml_parser_parse(&parser, &event_) != 0) return;
    const std::string problem = parser.problem != nullptr ? parser.problem : "out of memory";
    throw UsageError(name + " line " + std::to_string(parser.problem_mark.line + 1) + ": " + problem);
  }
  ~Event() { yaml_event_delete(&event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  const yaml_event_t* operator->() const { return &event_; }

 private:
  yaml_event_t event_ = {};
};

class Reader {
 public:
  Reader(const std::string& text, const std::string& name) : name_(name) {
    if (yaml_parser_initialize(&parser_) == 0) throw UsageError(name + ": out of memory");
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()), text.size());
  }
  ~Reader() { yaml_parser_delete(&parser_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  YamlDocument read() {
    for (;;) {
      Event event(parser_, name_);
      if (event->type == YAML_STREAM_END_EVENT) return std::move(document_);
      if (event->type == YAML_DOCUMENT_START_EVENT) {
        if (documents_++ > 0) refuse(event->start_mark, "more than one document");
        Event first(parser_, name_);
        document_.root = node(first, 0);
      }
    }
  }

 private:
  [[noreturn]] void refuse(const yaml_mark_t& where, const std::string& what) const {
    throw UsageError(name_ + " line " + std::to_string(where.line + 1) + ": " + what);
  }

  Json node(const Event& event, int depth) {
    if (depth > kMaxDepth) refuse(event->start_mark, "nested deeper than " + std::to_string(kMaxDepth));
    if (++nodes_ > kMaxNodes) refuse(event->start_mark, "more than " + std::to_string(kMaxNodes) + " values");
    switch (event->type) {
      case YAML_SCALAR_EVENT:
        return scalar(event);
      case YAML_SEQUENCE_START_EVENT:
        return sequence(depth);
      case YAML_MAPPING_START_EVENT:
        return mapping(depth);
      case YAML_ALIAS_EVENT:
        refuse(event->start_mark, "aliases (*name) are not supported; write the value out");
      default:
        refuse(event->start_mark, "a value was expected");
    }
  }

  Json scalar(const Event& event) const {
    const auto& data = event->data.scalar;
    std::string text(reinterpret_cast<const char*>(data.value), data.length);
    if (text.find('\0') != std::string::npos) refuse(event->start_mark, "a zero byte in a value");
    const std::string tag = data.tag != nullptr ? reinterpret_cast<const char*>(data.tag) : "";
    if (!tag.empty() && tag != "!" && tag != YAML_STR_TAG) {
      refuse(event->start_mark, "tag " + tag + " is not supported; write the value without it");
    }
    return data.style == YAML_PLAIN_SCALAR_STYLE && tag.empty() ? plain_scalar(text) : Json(std::move(text));
  }

  Json sequence(int depth) {
    Json list = Json::array();
    for (;;) {
      Event event(parser_, name_);
      if (event->type == YAML_SEQUENCE_END_EVENT) return list;
      list.push_back(node(event, depth + 1));
    }
  }

  Json mapping(int depth) {
    Json map = Json::object();
    std::map<std::string, size_t> lines;  // ordered_json finds keys by walking; this keeps large files quick
    std::vector<std::pair<std::string, Json>> items;
    for (;;) {
      Event event(parser_, name_);
      if (event->type == YAML_MAPPING_END_EVENT) break;
      if (event->type != YAML_SCALAR_EVENT) refuse(event->start_mark, "a key must be a plain word");
      const auto& data = event->data.scalar;
      std::string key(reinterpret_cast<const char*>(data.value), data.length);
      Event value(parser_, name_);
      Json item = node(value, depth + 1);
      const auto [it, added] = lines.try_emplace(key, items.size());
      if (added) {
        items.emplace_back(std::move(key), std::move(item));
      } else {
        document_.warnings.push_back(name_ + " line " + std::to_string(event->start_mark.line + 1) + ": " +
                                     key + " is given twice; the last one counts");
        items[it->second].second = std::move(item);
      }
    }
    auto& object = map.get_ref<Json::object_t&>();
    for (auto& [key, item] : items) object.Container::emplace_back(std::move(key), std::move(item));
    return map;
  }

  const std::string& name_;
  yaml_parser_t parser_ = {};
  YamlDocument document_;
  int documents_ = 0;
  size_t nodes_ = 0;
};

}  // namespace

YamlDocument parse_yaml(const std::string& text, const std::string& name) {
  if (text.size() > kMaxYamlBytes) throw UsageError(name + ": larger than 1 MiB");
  return Reader(text, name).read();
}

}  // namespace outrider::config

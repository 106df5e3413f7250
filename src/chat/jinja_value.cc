#include "chat/jinja_value.h"

#include <algorithm>
#include <cmath>

#include "base/python_float.h"
#include "base/python_repr.h"
#include "base/text.h"
#include "base/utf8.h"

namespace outrider::chat::jinja {
namespace {

// Values are walked and freed recursively.
constexpr int kMaxNesting = 100;
constexpr size_t kMaxWeight = size_t{64} << 20;
constexpr size_t kMaxKeys = 2000;  // of dictionaries that need a look at each pair of keys

int depth_above(int depth) {
  if (depth >= kMaxNesting) throw Error("lists and dictionaries are nested more than 100 deep");
  return depth + 1;
}

// A list may hold one long string many times.
void check_weight(const Value& value) {
  if (value.weight() > kMaxWeight) throw Error("a list or dictionary is too large to be written or compared");
}

size_t saturating_sum(size_t a, size_t b) { return std::min(a + std::min(b, SIZE_MAX / 2), SIZE_MAX / 2); }

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return python_float(value);
}

void append_reprs(std::string& out, const std::vector<Value>& items) {
  for (size_t i = 0; i < items.size(); ++i) out += (i > 0 ? ", " : "") + items[i].repr();
}

bool lists_equal(const List& a, const List& b) {
  return a.tuple == b.tuple && a.items.size() == b.items.size() &&
         std::equal(a.items.begin(), a.items.end(), b.items.begin(), &Value::equal);
}

bool dicts_equal(const Dict& a, const Dict& b) {
  if (a.items.size() != b.items.size()) return false;
  if (a.items.size() > kMaxKeys) throw Error("a dictionary is too large to be compared");
  return std::all_of(a.items.begin(), a.items.end(), [&](const auto& item) {
    const Value* other = b.find(item.first);
    return other != nullptr && Value::equal(item.second, *other);
  });
}

}  // namespace

Value Value::list(std::vector<Value> items, bool tuple) {
  int depth = 0;
  size_t weight = 2;
  for (const Value& item : items) {
    depth = std::max(depth, item.depth());
    weight = saturating_sum(weight, item.weight() + 2);
  }
  return Value(Data(std::make_shared<const List>(List{std::move(items), tuple, depth_above(depth), weight})));
}

Value Value::dict(std::vector<std::pair<Value, Value>> items) {
  if (items.size() > kMaxKeys) throw Error("a dictionary is too large to be made here");
  Dict out;
  out.weight = 2;
  int depth = 0;
  for (auto& [key, value] : items) {
    out.weight = saturating_sum(out.weight, saturating_sum(key.weight(), value.weight()) + 4);
    if (key.list() != nullptr || key.dict() != nullptr) {
      throw Error(std::string("unhashable type: '") + key.type_name() + "'");
    }
    depth = std::max(depth, value.depth());
    const auto found = std::find_if(out.items.begin(), out.items.end(),
                                    [&](const auto& item) { return equal(item.first, key); });
    if (found == out.items.end()) {
      out.items.emplace_back(std::move(key), std::move(value));
    } else {
      found->second = std::move(value);
    }
  }
  out.depth = depth_above(depth);
  return Value(Data(std::make_shared<const Dict>(std::move(out))));
}

Value Value::from_json(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return json.get<bool>();
    case Json::value_t::number_integer:
      return Value(Integer{json.get<int64_t>()});
    case Json::value_t::number_unsigned:
      return Value(Integer{json.get<uint64_t>()});
    case Json::value_t::number_float:
      return json.get<double>();
    case Json::value_t::string:
      return json.get_ref<const std::string&>();
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(from_json(item));
      return list(std::move(items));
    }
    case Json::value_t::object: {
      // Keys of a JSON object are unique already; looking for equal ones would cost their square.
      Dict out;
      out.weight = 2;
      int depth = 0;
      for (const auto& [key, item] : json.items()) {
        out.items.emplace_back(key, from_json(item));
        out.weight = saturating_sum(out.weight, key.size() + out.items.back().second.weight() + 4);
        depth = std::max(depth, out.items.back().second.depth());
      }
      out.depth = depth_above(depth);
      return Value(Data(std::make_shared<const Dict>(std::move(out))));
    }
    default:
      return {};
  }
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_integer()) return integer() != 0;
  if (is_float()) return number() != 0;
  if (is_string()) return !string()->empty();
  if (list() != nullptr) return !list()->items.empty();
  if (dict() != nullptr) return !dict()->items.empty();
  return true;
}

Integer Value::integer() const {
  return is_bool() ? Integer{std::get<bool>(data_)} : std::get<Integer>(data_);
}

double Value::number() const { return is_float() ? std::get<double>(data_) : static_cast<double>(integer()); }

int Value::depth() const {
  if (list() != nullptr) return list()->depth;
  return dict() != nullptr ? dict()->depth : 0;
}

size_t Value::weight() const {
  if (is_string()) return string()->size();
  if (list() != nullptr) return list()->weight;
  return dict() != nullptr ? dict()->weight : 8;
}

const char* Value::type_name() const {
  constexpr const char* kNames[] = {"Undefined", "NoneType", "bool",      "int",      "float",      "str",
                                    "list",      "dict",     "Namespace", "function", "LoopContext"};
  if (list() != nullptr && list()->tuple) return "tuple";
  return kNames[data_.index()];
}

std::string Value::text() const {
  if (is_undefined()) return {};
  if (is_string()) return *string();
  return repr();
}

std::string Value::repr() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (is_bool()) return truth() ? "True" : "False";
  if (is_integer()) return integer_text(integer());
  if (is_float()) return float_text(number());
  if (is_string()) return python_string(*string());
  check_weight(*this);
  std::string out;
  if (const List* items = list()) {
    out += items->tuple ? '(' : '[';
    append_reprs(out, items->items);
    if (items->tuple && items->items.size() == 1) out += ',';
    return out + (items->tuple ? ')' : ']');
  }
  if (const Dict* items = dict()) {
    out += '{';
    for (size_t i = 0; i < items->items.size(); ++i) {
      out += (i > 0 ? ", " : "") + items->items[i].first.repr() + ": " + items->items[i].second.repr();
    }
    return out + '}';
  }
  return std::string("<") + type_name() + ">";
}

bool Value::equal(const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer()) return a.integer() == b.integer();
  if (a.is_number() && b.is_number()) return a.number() == b.number();
  if (a.data_.index() != b.data_.index()) return false;
  if (a.is_undefined() || a.is_none()) return true;
  if (a.is_string()) return *a.string() == *b.string();
  check_weight(a);
  if (a.list() != nullptr) return lists_equal(*a.list(), *b.list());
  if (a.dict() != nullptr) return dicts_equal(*a.dict(), *b.dict());
  if (a.name_space() != nullptr) return a.name_space() == b.name_space();
  if (a.loop() != nullptr) return a.loop() == b.loop();
  return a.callable() == b.callable();
}

int Value::compare(const Value& a, const Value& b) {
  for (const Value* side : {&a, &b}) {
    if (side->is_undefined()) throw Error(std::get<Undefined>(side->data_).hint);
  }
  if (a.is_integer() && b.is_integer()) {
    return (a.integer() > b.integer()) - (a.integer() < b.integer());
  }
  if (a.is_number() && b.is_number()) return (a.number() > b.number()) - (a.number() < b.number());
  // Bytes of UTF-8 are in the order of their code points.
  if (a.is_string() && b.is_string()) return a.string()->compare(*b.string());
  if (a.list() != nullptr && b.list() != nullptr && a.list()->tuple == b.list()->tuple) {
    check_weight(a);
    const std::vector<Value>&x = a.list()->items, &y = b.list()->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(x[i], y[i])) return compare(x[i], y[i]);
    }
    return (x.size() > y.size()) - (x.size() < y.size());
  }
  throw Error(std::string("'<' not supported between instances of '") + a.type_name() + "' and '" +
              b.type_name() + "'");
}

const Value* Dict::find(const Value& key) const {
  for (const auto& [own, value] : items) {
    if (Value::equal(own, key)) return &value;
  }
  return nullptr;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [own, value] : items) {
    if (own.is_string() && *own.string() == key) return &value;
  }
  return nullptr;
}

Value* Namespace::find(std::string_view name) {
  for (auto& [own, value] : attributes) {
    if (own == name) return &value;
  }
  return nullptr;
}

std::string integer_text(Integer value) {
  std::string digits;
  const bool negative = value < 0;
  do {
    const int digit = static_cast<int>(value % 10);
    digits += static_cast<char>('0' + (digit < 0 ? -digit : digit));
    value /= 10;
  } while (value != 0);
  if (negative) digits += '-';
  std::reverse(digits.begin(), digits.end());
  return digits;
}

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(),
                                           [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

std::vector<std::string_view> split_code_points(std::string_view text) {
  std::vector<std::string_view> out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = utf8_step(text).length;
    out.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace outrider::chat::jinja

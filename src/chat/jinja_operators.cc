// Python's operators, indexing and iteration.
#include <algorithm>
#include <cmath>

#include "base/python_repr.h"
#include "chat/jinja_builtins.h"

namespace outrider::chat::jinja {
namespace {

constexpr size_t kMaxStringBytes = size_t{64} << 20;

[[noreturn]] void refuse_operands(std::string_view op, const Value& left, const Value& right) {
  for (const Value* side : {&left, &right}) {
    if (side->is_undefined()) refuse_undefined(*side);
  }
  throw Error("unsupported operand types for " + std::string(op) + ": '" + left.type_name() + "' and '" +
              right.type_name() + "'");
}

Value repeated(const Value& sequence, Integer times, Budget& budget) {
  times = std::max<Integer>(times, 0);
  if (const std::string* text = sequence.string()) {
    if (times > 0 && static_cast<Integer>(text->size()) > static_cast<Integer>(kMaxStringBytes) / times) {
      throw Error("a string grows too long");
    }
    std::string out;
    budget.spend_bytes(text->size() * static_cast<size_t>(times));
    for (Integer i = 0; i < times && !text->empty(); ++i) out += *text;
    return out;
  }
  const std::vector<Value>& items = sequence.list()->items;
  if (times > 0 && static_cast<Integer>(items.size()) > Integer{1000000} / times) {
    throw Error("a list grows too long");
  }
  std::vector<Value> out;
  budget.spend(items.size() * static_cast<size_t>(times));
  for (Integer i = 0; i < times && !items.empty(); ++i) out.insert(out.end(), items.begin(), items.end());
  return Value::list(std::move(out), sequence.list()->tuple);
}

[[noreturn]] void refuse_integer() { throw Error("an integer grows too large"); }

Integer floor_divide(Integer a, Integer b) {
  const Integer quotient = a / b;
  return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

Value power(Integer base, Integer exponent) {
  if (exponent < 0) return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  Integer out = 1;
  if (base == 1 || base == 0 || base == -1)
    return Value(exponent == 0 ? 1 : exponent % 2 == 0 ? base * base : base);
  for (Integer i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(out, base, &out)) refuse_integer();
  }
  return Value(out);
}

Value integers(std::string_view op, Integer a, Integer b) {
  Integer out = 0;
  if (op == "+" || op == "-" || op == "*") {
    const bool overflow = op == "+"   ? __builtin_add_overflow(a, b, &out)
                          : op == "-" ? __builtin_sub_overflow(a, b, &out)
                                      : __builtin_mul_overflow(a, b, &out);
    if (overflow) refuse_integer();
    return Value(out);
  }
  if (op == "**") return power(a, b);
  if (b == 0) throw Error("division by zero");
  if (op == "/") return static_cast<double>(a) / static_cast<double>(b);
  if (b == -1) return op == "%" ? Value(0) : integers("-", 0, a);
  const Integer quotient = floor_divide(a, b);
  return Value(op == "//" ? quotient : a - quotient * b);
}

Value floats(std::string_view op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") return std::pow(a, b);
  if (b == 0) throw Error("float division by zero");
  if (op == "/") return a / b;
  double rest = std::fmod(a, b);
  if (rest == 0) rest = std::copysign(0.0, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (op == "%") return rest;
  const double quotient = (a - rest) / b;
  return quotient == 0 ? std::copysign(0.0, a / b) : std::floor(quotient + 0.5);
}

std::string_view slice_text(std::string_view text, Integer begin, Integer end) {
  const std::vector<std::string_view> points = split_code_points(text);
  const auto from = static_cast<size_t>(begin), to = static_cast<size_t>(end);
  if (from >= to) return {};
  const char* first = points[from].data();
  return {first, static_cast<size_t>(points[to - 1].data() + points[to - 1].size() - first)};
}

Integer length_of(const Value& sequence) {
  return static_cast<Integer>(sequence.is_string() ? count_code_points(*sequence.string())
                                                   : sequence.list()->items.size());
}

Value undefined_item(const Value& object, const Value& key) {
  if (key.is_string()) {
    return Undefined{std::string("'") + (object.dict() != nullptr ? "dict" : object.type_name()) +
                     " object' has no attribute " + python_string(key.string()->substr(0, 100))};
  }
  return Undefined{std::string(object.type_name()) + " object has no element " + key.repr().substr(0, 100)};
}

Value element(const Value& object, Integer index, Budget& budget) {
  const Integer length = length_of(object);
  if (index < 0) index += length;
  if (index < 0 || index >= length) return undefined_item(object, Value(index));
  if (object.list() != nullptr) return object.list()->items[static_cast<size_t>(index)];
  budget.spend_bytes(object.string()->size());
  return Value(slice_text(*object.string(), index, index + 1));
}

}  // namespace

void refuse_undefined(const Value& value) { throw Error(std::get<Undefined>(value.data()).hint); }

Value binary(std::string_view op, const Value& left, const Value& right, Budget& budget) {
  if (left.is_integer() && right.is_integer()) return integers(op, left.integer(), right.integer());
  if (left.is_number() && right.is_number()) return floats(op, left.number(), right.number());
  if (op == "+" && left.is_string() && right.is_string()) {
    budget.spend_bytes(left.string()->size() + right.string()->size());
    if (left.string()->size() + right.string()->size() > kMaxStringBytes)
      throw Error("a string grows too long");
    return *left.string() + *right.string();
  }
  if (op == "+" && left.list() != nullptr && right.list() != nullptr &&
      left.list()->tuple == right.list()->tuple) {
    std::vector<Value> out = left.list()->items;
    budget.spend(out.size() + right.list()->items.size());
    out.insert(out.end(), right.list()->items.begin(), right.list()->items.end());
    return Value::list(std::move(out), left.list()->tuple);
  }
  if (op == "*") {
    const auto is_sequence = [](const Value& value) { return value.is_string() || value.list() != nullptr; };
    if (is_sequence(left) && right.is_integer()) return repeated(left, right.integer(), budget);
    if (is_sequence(right) && left.is_integer()) return repeated(right, left.integer(), budget);
  }
  if (op == "%" && left.is_string()) return percent_format(*left.string(), right, budget);
  refuse_operands(op, left, right);
}

bool compares(std::string_view op, const Value& left, const Value& right, Budget& budget) {
  budget.spend_bytes(std::min(left.weight(), right.weight()));
  if (op == "in") return contains(right, left, budget);
  if (op == "not in") return !contains(right, left, budget);
  if (op == "==") return Value::equal(left, right);
  if (op == "!=") return !Value::equal(left, right);
  const int order = Value::compare(left, right);
  if (op == "<") return order < 0;
  if (op == "<=") return order <= 0;
  return op == ">" ? order > 0 : order >= 0;
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  if (container.is_undefined()) return false;
  if (const std::string* text = container.string()) {
    if (!item.is_string()) {
      throw Error(std::string("'in <string>' requires string as left operand, not ") + item.type_name());
    }
    budget.spend_bytes(text->size());
    return text->find(*item.string()) != std::string::npos;
  }
  if (const Dict* dict = container.dict()) {
    budget.spend(dict->items.size() / 8);
    return dict->find(item) != nullptr;
  }
  if (const List* list = container.list()) {
    budget.spend(list->items.size());
    budget.spend_bytes(std::min(list->weight, item.weight() * list->items.size()));
    return std::any_of(list->items.begin(), list->items.end(),
                       [&](const Value& own) { return Value::equal(own, item); });
  }
  throw Error(std::string("argument of type '") + container.type_name() + "' is not iterable");
}

std::vector<Value> items_of(const Value& value, Budget& budget) {
  std::vector<Value> out;
  if (value.is_undefined()) return out;
  if (const List* list = value.list()) {
    budget.spend(list->items.size());
    return list->items;
  }
  if (const Dict* dict = value.dict()) {
    budget.spend(dict->items.size());
    for (const auto& [key, item] : dict->items) out.push_back(key);
    return out;
  }
  if (const std::string* text = value.string()) {
    budget.spend(text->size());
    for (const std::string_view point : split_code_points(*text)) out.emplace_back(point);
    return out;
  }
  throw Error(std::string("'") + value.type_name() + "' object is not iterable");
}

Value attribute_of(const Value& object, const std::string& name, Budget& budget) {
  budget.spend(1);
  if (object.is_undefined()) refuse_undefined(object);
  if (Namespace* space = object.name_space()) {
    const Value* found = space->find(name);
    return found != nullptr ? *found : undefined_item(object, Value(name));
  }
  if (auto method = find_method(object, name, budget)) return *std::move(method);
  if (const Dict* dict = object.dict()) {
    budget.spend(dict->items.size() / 8);
    if (const Value* found = dict->find(std::string_view(name))) return *found;
  }
  return undefined_item(object, Value(name));
}

Value item_of(const Value& object, const Value& key, Budget& budget) {
  budget.spend(1);
  if (object.is_undefined()) refuse_undefined(object);
  if (const Dict* dict = object.dict()) {
    budget.spend(dict->items.size() / 8);
    if (const Value* found = dict->find(key)) return *found;
  } else if ((object.is_string() || object.list() != nullptr) && key.is_integer()) {
    return element(object, key.integer(), budget);
  }
  if (key.is_string()) {
    if (auto method = find_method(object, *key.string(), budget)) return *std::move(method);
  }
  return undefined_item(object, key);
}

Value slice_of(const Value& object, const std::optional<Integer>& begin, const std::optional<Integer>& end,
               Integer step, Budget& budget) {
  if (object.is_undefined()) refuse_undefined(object);
  if (!object.is_string() && object.list() == nullptr) {
    throw Error(std::string("'") + object.type_name() + "' object cannot be sliced");
  }
  if (step == 0) throw Error("slice step cannot be zero");
  const Integer length = length_of(object);
  budget.spend(static_cast<size_t>(length) / (object.is_string() ? 16 : 1) + 1);
  const Integer lowest = step < 0 ? -1 : 0, highest = step < 0 ? length - 1 : length;
  const auto bound = [&](const std::optional<Integer>& value, Integer missing) {
    if (!value) return missing;
    return std::clamp(*value < 0 ? std::max<Integer>(*value, -length - 1) + length : *value, lowest, highest);
  };
  const Integer from = bound(begin, step < 0 ? highest : lowest),
                to = bound(end, step < 0 ? lowest : highest);
  if (step == 1 && object.is_string()) return Value(slice_text(*object.string(), from, to));
  // A step beyond the length takes one element; so the sum cannot overflow.
  const Integer stride = std::clamp<Integer>(step, -length - 1, length + 1);
  std::vector<size_t> chosen;
  for (Integer at = from; stride > 0 ? at < to : at > to; at += stride)
    chosen.push_back(static_cast<size_t>(at));
  if (object.is_string()) {
    const std::vector<std::string_view> points = split_code_points(*object.string());
    std::string out;
    for (const size_t at : chosen) out += points[at];
    return out;
  }
  std::vector<Value> out;
  for (const size_t at : chosen) out.push_back(object.list()->items[at]);
  return Value::list(std::move(out), object.list()->tuple);
}

const Value* argument(const Arguments& arguments, size_t position, std::string_view name) {
  if (position < arguments.positional.size()) return &arguments.positional[position];
  for (const auto& [own, value] : arguments.keywords) {
    if (own == name) return &value;
  }
  return nullptr;
}

const Value& required(const Arguments& arguments, size_t position, std::string_view name) {
  const Value* found = argument(arguments, position, name);
  if (found == nullptr) throw Error("missing argument '" + std::string(name) + "'");
  return *found;
}

// '%s and %d' % (a, b); no widths.
std::string percent_format(const std::string& form, const Value& arguments, Budget& budget) {
  const bool is_tuple = arguments.list() != nullptr && arguments.list()->tuple;
  const std::vector<Value> values = is_tuple ? arguments.list()->items : std::vector<Value>{arguments};
  std::string out;
  size_t used = 0;
  for (size_t i = 0; i < form.size(); ++i) {
    if (form[i] != '%') {
      out += form[i];
      continue;
    }
    const char kind = i + 1 < form.size() ? form[++i] : '\0';
    if (kind == '%') {
      out += '%';
      continue;
    }
    if (kind != 's' && kind != 'd' && kind != 'r') throw Error("only %s, %d, %r and %% can be formatted");
    if (used == values.size()) throw Error("not enough arguments for format string");
    const Value& value = values[used++];
    if (kind == 'd' && !value.is_number()) throw Error("%d format: a real number is required");
    std::string text = kind == 'r' ? value.repr() : value.text();
    if (kind == 'd')
      text = value.is_integer() ? integer_text(value.integer()) : text.substr(0, text.find('.'));
    budget.spend_bytes(text.size());
    out += text;
  }
  if (used < values.size() && (is_tuple || values[0].dict() == nullptr)) {
    throw Error("not all arguments converted during string formatting");
  }
  return out;
}

}  // namespace outrider::chat::jinja

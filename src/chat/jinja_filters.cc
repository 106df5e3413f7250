// Filters.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>

#include "base/json_string.h"
#include "base/python_float.h"
#include "base/text.h"
#include "base/utf8.h"
#include "chat/jinja_builtins.h"
#include "chat/jinja_text.h"

namespace outrider::chat::jinja {
namespace {

using Filter = Value (*)(const Value& value, const Arguments& arguments, Budget& budget);

bool flag(const Arguments& arguments, size_t position, std::string_view name, bool initial) {
  const Value* found = argument(arguments, position, name);
  return found != nullptr ? found->truth() : initial;
}

int64_t whole_number(const Arguments& arguments, size_t position, std::string_view name, int64_t initial) {
  const Value* found = argument(arguments, position, name);
  if (found == nullptr || found->is_none()) return initial;
  if (!found->is_integer()) throw Error("argument '" + std::string(name) + "' must be an integer");
  return static_cast<int64_t>(std::clamp<Integer>(found->integer(), INT64_MIN, INT64_MAX));
}

// What soft_str() makes of a value, paid for.
std::string text_of(const Value& value, Budget& budget) {
  std::string text = value.text();
  budget.spend_bytes(text.size());
  return text;
}

// "a.b.0" looked up step by step, as the `attribute` of map, sort and others; an integer is an index.
Value attribute_path(const Value& value, const Value& path, Budget& budget) {
  if (path.is_integer()) return item_of(value, path, budget);
  if (!path.is_string()) throw Error("attribute must be a string or an integer");
  Value at = value;
  for (const std::string_view part : split(*path.string(), std::string_view("."), -1)) {
    int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index =
        !part.empty() && error == std::errc() && end == part.data() + part.size() && part[0] != '-';
    at = item_of(at, is_index ? Value(Integer{index}) : Value(part), budget);
  }
  return at;
}

Value lowered(const Value& value) { return value.is_string() ? Value(lower_case(*value.string())) : value; }

// The key by which sort, unique, min and max look at an item.
Value sort_key(const Value& item, const Value* attribute, bool case_sensitive, Budget& budget) {
  Value key = attribute != nullptr && !attribute->is_none() ? attribute_path(item, *attribute, budget) : item;
  return case_sensitive ? key : lowered(key);
}

// --- JSON ---

void append_json(std::string& out, const Value& value, int indent, int depth, bool ensure_ascii,
                 bool sort_keys, Budget& budget) {
  budget.spend(1);
  const auto new_line = [&](int levels) {
    if (indent < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(indent) * static_cast<size_t>(levels), ' ');
    budget.spend_bytes(static_cast<size_t>(indent) * static_cast<size_t>(levels));
  };
  const auto separate = [&](bool first) {
    if (!first) out += indent < 0 ? ", " : ",";
    new_line(depth + 1);
  };
  if (value.is_string()) {
    budget.spend_bytes(value.string()->size());
    append_json_string(out, *value.string(), ensure_ascii);
  } else if (const List* list = value.list()) {
    out += '[';
    for (size_t i = 0; i < list->items.size(); ++i) {
      separate(i == 0);
      append_json(out, list->items[i], indent, depth + 1, ensure_ascii, sort_keys, budget);
    }
    if (!list->items.empty()) new_line(depth);
    out += ']';
  } else if (const Dict* dict = value.dict()) {
    std::vector<std::pair<Value, Value>> items = dict->items;
    if (sort_keys) {
      std::stable_sort(items.begin(), items.end(),
                       [](const auto& a, const auto& b) { return Value::compare(a.first, b.first) < 0; });
    }
    out += '{';
    for (size_t i = 0; i < items.size(); ++i) {
      separate(i == 0);
      const Value& key = items[i].first;
      const bool is_word = key.is_none() || key.is_bool();
      append_json_string(out,
                         is_word ? (key.is_none() ? "null"
                                    : key.truth() ? "true"
                                                  : "false")
                                 : key.text(),
                         ensure_ascii);
      out += ": ";
      append_json(out, items[i].second, indent, depth + 1, ensure_ascii, sort_keys, budget);
    }
    if (!items.empty()) new_line(depth);
    out += '}';
  } else if (value.is_none()) {
    out += "null";
  } else if (value.is_bool()) {
    out += value.truth() ? "true" : "false";
  } else if (value.is_integer()) {
    out += integer_text(value.integer());
  } else if (value.is_float()) {
    out += python_float(value.number());
  } else {
    throw Error(std::string("Object of type ") + value.type_name() + " is not JSON serializable");
  }
}

Value to_json(const Value& value, const Arguments& arguments, Budget& budget) {
  const Value* indent = argument(arguments, 1, "indent");
  if (arguments.positional.size() == 1 && !arguments.positional[0].is_bool())
    indent = &arguments.positional[0];
  int width = -1;
  if (indent != nullptr && indent->is_integer())
    width = static_cast<int>(std::clamp<Integer>(indent->integer(), 0, 64));
  std::string out;
  const Value* ascii = argument(arguments, 0, "ensure_ascii");
  append_json(out, value, width, 0, ascii != nullptr && ascii != indent && ascii->truth(),
              flag(arguments, 3, "sort_keys", false), budget);
  return out;
}

// --- text ---

Value trim(const Value& value, const Arguments& arguments, Budget& budget) {
  const Value* characters = argument(arguments, 0, "chars");
  const std::string text = text_of(value, budget);
  if (characters == nullptr || !characters->is_string()) return Value(strip(text, Side::kBoth, {}));
  return Value(strip(text, Side::kBoth, *characters->string()));
}

Value indented(const Value& value, const Arguments& arguments, Budget& budget) {
  const Value* width = argument(arguments, 0, "width");
  std::string indent(static_cast<size_t>(4), ' ');
  if (width != nullptr && width->is_string()) {
    indent = *width->string();
  } else if (width != nullptr) {
    indent.assign(static_cast<size_t>(std::clamp<int64_t>(whole_number(arguments, 0, "width", 4), 0, 1000)),
                  ' ');
  }
  const bool blank = flag(arguments, 2, "blank", false);
  std::string out = flag(arguments, 1, "first", false) ? indent : "";
  const std::string text = text_of(value, budget) + "\n";
  bool first = true;
  for (const std::string_view line : split_lines(text, false)) {
    budget.spend_bytes(line.size() + indent.size());
    if (!first) out += '\n';
    if (!first && (blank || !line.empty())) out += indent;
    out += line;
    first = false;
  }
  return out;
}

// Words start after space, hyphen and opening brackets.
Value title_words(const Value& value, const Arguments&, Budget& budget) {
  std::string out = text_of(value, budget);
  bool start = true;
  for (char& c : out) {
    c = start ? upper(std::string_view(&c, 1))[0] : lower_case(c);
    start = std::string_view("- \t\n\v\f\r({[<").find(c) != std::string_view::npos;
  }
  return out;
}

Value escaped(const Value& value, const Arguments&, Budget& budget) {
  return escape_markup(text_of(value, budget), "&#34;");
}

Value join_items(const Value& value, const Arguments& arguments, Budget& budget) {
  const Value* separator = argument(arguments, 0, "d");
  const Value* attribute = argument(arguments, 1, "attribute");
  const std::string between = separator != nullptr ? separator->text() : "";
  std::string out;
  bool first = true;
  for (const Value& item : items_of(value, budget)) {
    if (!first) out += between;
    out += text_of(attribute != nullptr ? attribute_path(item, *attribute, budget) : item, budget);
    budget.spend_bytes(between.size());
    first = false;
  }
  return out;
}

// A filter that is a method of strings.
template <const char* kMethod>
Value by_method(const Value& value, const Arguments& arguments, Budget& budget) {
  return find_method(Value(text_of(value, budget)), kMethod, budget)->callable()->call(arguments);
}
constexpr char kUpper[] = "upper", kLower[] = "lower", kCapitalize[] = "capitalize", kReplace[] = "replace";

// --- numbers ---

Value to_integer(const Value& value, const Arguments& arguments, Budget&) {
  const Value* initial = argument(arguments, 0, "default");
  Value otherwise = initial != nullptr ? *initial : Value(0);
  if (value.is_undefined()) refuse_undefined(value);
  if (value.is_integer()) return Value(value.integer());
  double number = 0;
  if (value.is_float()) {
    number = value.number();
  } else if (value.is_string()) {
    const std::string_view text = strip(*value.string(), Side::kBoth, {});
    const size_t sign = !text.empty() && text[0] == '+' ? 1 : 0;
    int64_t whole = 0;
    const char* end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data() + sign, end, whole);
    if (error == std::errc() && at == end && !text.empty()) return Value(Integer{whole});
    const auto [stop, wrong] = std::from_chars(text.data() + sign, end, number);
    if (wrong != std::errc() || stop != end || text.empty()) return otherwise;
  } else {
    return otherwise;
  }
  if (!(std::abs(number) < 1e18)) return otherwise;
  return Value(static_cast<Integer>(number));
}

Value to_float(const Value& value, const Arguments& arguments, Budget&) {
  const Value* initial = argument(arguments, 0, "default");
  if (value.is_undefined()) refuse_undefined(value);
  if (value.is_number()) return value.number();
  if (value.is_string()) {
    const std::string_view text = strip(*value.string(), Side::kBoth, {});
    double number = 0;
    const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && at == text.data() + text.size() && !text.empty()) return number;
  }
  return initial != nullptr ? *initial : Value(0.0);
}

Value absolute(const Value& value, const Arguments&, Budget& budget) {
  if (!value.is_number()) throw Error(std::string("bad operand type for abs(): '") + value.type_name() + "'");
  if (value.is_float()) return std::abs(value.number());
  return value.integer() < 0 ? binary("-", Value(0), value, budget) : Value(value.integer());
}

Value rounded(const Value& value, const Arguments& arguments, Budget&) {
  if (!value.is_number()) throw Error("round takes a number");
  const int64_t precision = std::clamp<int64_t>(whole_number(arguments, 0, "precision", 0), -300, 300);
  const Value* given = argument(arguments, 1, "method");
  const std::string method = given != nullptr ? given->text() : "common";
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return std::ceil(value.number() * scale) / scale;
  if (method == "floor") return std::floor(value.number() * scale) / scale;
  if (method != "common") throw Error("method must be common, ceil or floor");
  if (value.is_integer() && precision >= 0) return Value(value.integer());
  if (precision < 0) return std::nearbyint(value.number() * scale) / scale;
  // The nearest decimal of the exact binary value, as Python rounds: from_chars and to_chars are exact.
  std::array<char, 700> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value.number(),
                                 std::chars_format::fixed, static_cast<int>(precision));
  double out = 0;
  std::from_chars(buffer.data(), end.ptr, out);
  return out;
}

Value sum_items(const Value& value, const Arguments& arguments, Budget& budget) {
  const Value* attribute = argument(arguments, 0, "attribute");
  const Value* start = argument(arguments, 1, "start");
  Value total = start != nullptr ? *start : Value(0);
  for (const Value& item : items_of(value, budget)) {
    const bool whole = attribute == nullptr || attribute->is_none();
    total = binary("+", total, whole ? item : attribute_path(item, *attribute, budget), budget);
  }
  return total;
}

// --- lists ---

Value length(const Value& value, const Arguments&, Budget&) {
  if (value.is_undefined()) return 0;
  if (const std::string* text = value.string()) return count_code_points(*text);
  if (const List* list = value.list()) return list->items.size();
  if (const Dict* dict = value.dict()) return dict->items.size();
  throw Error(std::string("object of type '") + value.type_name() + "' has no len()");
}

Value first_item(const Value& value, const Arguments&, Budget& budget) {
  const std::vector<Value> items = items_of(value, budget);
  return items.empty() ? Value(Undefined{"No first item, sequence was empty."}) : items.front();
}

Value last_item(const Value& value, const Arguments&, Budget& budget) {
  const std::vector<Value> items = items_of(value, budget);
  return items.empty() ? Value(Undefined{"No last item, sequence was empty."}) : items.back();
}

Value as_list(const Value& value, const Arguments&, Budget& budget) {
  return Value::list(items_of(value, budget));
}

Value reversed(const Value& value, const Arguments&, Budget& budget) {
  std::vector<Value> items = items_of(value, budget);
  std::reverse(items.begin(), items.end());
  if (!value.is_string()) return Value::list(std::move(items));
  std::string out;
  for (const Value& item : items) out += *item.string();
  return out;
}

std::vector<Value> sorted_items(std::vector<Value> items, const Value* attribute, bool case_sensitive,
                                bool reverse, Budget& budget) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    Value key = sort_key(item, attribute, case_sensitive, budget);
    keyed.emplace_back(std::move(key), std::move(item));
  }
  budget.spend(keyed.size() * 8);
  // With unordered types std::sort would need a valid order all the same; find them first.
  for (const auto& [key, item] : keyed) Value::compare(key, keyed.front().first);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? Value::compare(b.first, a.first) < 0 : Value::compare(a.first, b.first) < 0;
  });
  std::vector<Value> out;
  for (auto& [key, item] : keyed) out.push_back(std::move(item));
  return out;
}

Value sorted(const Value& value, const Arguments& arguments, Budget& budget) {
  return Value::list(sorted_items(items_of(value, budget), argument(arguments, 2, "attribute"),
                                  flag(arguments, 1, "case_sensitive", false),
                                  flag(arguments, 0, "reverse", false), budget));
}

Value items_filter(const Value& value, const Arguments&, Budget& budget) {
  if (value.is_undefined()) return Value::list({});
  if (value.dict() == nullptr) throw Error("Can only get item pairs from a mapping.");
  return find_method(value, "items", budget)->callable()->call({});
}

Value dict_sorted(const Value& value, const Arguments& arguments, Budget& budget) {
  if (value.dict() == nullptr) throw Error("dictsort takes a dictionary");
  const Value* by = argument(arguments, 1, "by");
  const Value position(by != nullptr && by->text() == "value" ? 1 : 0);
  return Value::list(sorted_items(items_of(items_filter(value, {}, budget), budget), &position,
                                  flag(arguments, 0, "case_sensitive", false),
                                  flag(arguments, 2, "reverse", false), budget));
}

Value unique(const Value& value, const Arguments& arguments, Budget& budget) {
  std::vector<Value> seen, out;
  for (const Value& item : items_of(value, budget)) {
    Value key = sort_key(item, argument(arguments, 1, "attribute"),
                         flag(arguments, 0, "case_sensitive", false), budget);
    budget.spend(seen.size());
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return Value::equal(other, key); }))
      continue;
    seen.push_back(std::move(key));
    out.push_back(item);
  }
  return Value::list(std::move(out));
}

Value extreme(const Value& value, const Arguments& arguments, bool largest, Budget& budget) {
  const std::vector<Value> items = items_of(value, budget);
  if (items.empty()) return Undefined{"No aggregated item, sequence was empty."};
  const auto key = [&](const Value& item) {
    return sort_key(item, argument(arguments, 1, "attribute"), flag(arguments, 0, "case_sensitive", false),
                    budget);
  };
  const Value* best = &items[0];
  for (const Value& item : items) {
    const int order = Value::compare(key(item), key(*best));
    if (largest ? order > 0 : order < 0) best = &item;
  }
  return *best;
}

Arguments without_first(const Arguments& arguments, size_t count) {
  Arguments out = arguments;
  out.positional.erase(out.positional.begin(), out.positional.begin() + static_cast<std::ptrdiff_t>(count));
  return out;
}

Value mapped(const Value& value, const Arguments& arguments, Budget& budget) {
  std::vector<Value> out;
  if (!arguments.positional.empty()) {
    const std::string name = arguments.positional[0].text();
    const Arguments rest = without_first(arguments, 1);
    for (const Value& item : items_of(value, budget)) out.push_back(apply_filter(name, item, rest, budget));
    return Value::list(std::move(out));
  }
  const Value* attribute = argument(arguments, SIZE_MAX, "attribute");
  if (attribute == nullptr) throw Error("map requires a filter argument");
  const Value* initial = argument(arguments, SIZE_MAX, "default");
  for (const Value& item : items_of(value, budget)) {
    Value found = attribute_path(item, *attribute, budget);
    if (found.is_undefined() && initial != nullptr) found = *initial;
    out.push_back(std::move(found));
  }
  return Value::list(std::move(out));
}

// select, reject, selectattr, rejectattr.
Value selected(const Value& value, const Arguments& arguments, bool by_attribute, bool wanted,
               Budget& budget) {
  const size_t taken = by_attribute ? 1 : 0;
  if (by_attribute && arguments.positional.empty()) throw Error("Missing parameter for attribute name");
  const bool has_test = arguments.positional.size() > taken;
  const std::string test = has_test ? arguments.positional[taken].text() : "";
  const Arguments rest = without_first(arguments, taken + (has_test ? 1 : 0));
  std::vector<Value> out;
  for (const Value& item : items_of(value, budget)) {
    const Value subject = by_attribute ? attribute_path(item, arguments.positional[0], budget) : item;
    const bool passes = has_test ? apply_test(test, subject, rest, budget) : subject.truth();
    if (passes == wanted) out.push_back(item);
  }
  return Value::list(std::move(out));
}

Value fallback(const Value& value, const Arguments& arguments, Budget&) {
  const bool use = value.is_undefined() || (flag(arguments, 1, "boolean", false) && !value.truth());
  const Value* initial = argument(arguments, 0, "default_value");
  return !use ? value : initial != nullptr ? *initial : Value("");
}

const std::map<std::string_view, Filter>& filters() {
  static const std::map<std::string_view, Filter> all = {
      {"abs", &absolute},
      {"attr", [](const Value& v, const Arguments& a,
                  Budget& b) { return attribute_of(v, required(a, 0, "name").text(), b); }},
      {"capitalize", &by_method<kCapitalize>},
      {"count", &length},
      {"d", &fallback},
      {"default", &fallback},
      {"dictsort", &dict_sorted},
      {"e", &escaped},
      {"escape", &escaped},
      {"first", &first_item},
      {"float", &to_float},
      {"forceescape", &escaped},
      {"format",
       [](const Value& v, const Arguments& a, Budget& b) -> Value {
         return percent_format(text_of(v, b), Value::list(a.positional, true), b);
       }},
      {"indent", &indented},
      {"int", &to_integer},
      {"items", &items_filter},
      {"join", &join_items},
      {"last", &last_item},
      {"length", &length},
      {"list", &as_list},
      {"lower", &by_method<kLower>},
      {"map", &mapped},
      {"max", [](const Value& v, const Arguments& a, Budget& b) { return extreme(v, a, true, b); }},
      {"min", [](const Value& v, const Arguments& a, Budget& b) { return extreme(v, a, false, b); }},
      {"reject",
       [](const Value& v, const Arguments& a, Budget& b) { return selected(v, a, false, false, b); }},
      {"rejectattr",
       [](const Value& v, const Arguments& a, Budget& b) { return selected(v, a, true, false, b); }},
      {"replace", &by_method<kReplace>},
      {"reverse", &reversed},
      {"round", &rounded},
      {"safe", [](const Value& v, const Arguments&, Budget& b) -> Value { return text_of(v, b); }},
      {"select",
       [](const Value& v, const Arguments& a, Budget& b) { return selected(v, a, false, true, b); }},
      {"selectattr",
       [](const Value& v, const Arguments& a, Budget& b) { return selected(v, a, true, true, b); }},
      {"sort", &sorted},
      {"string", [](const Value& v, const Arguments&, Budget& b) -> Value { return text_of(v, b); }},
      {"sum", &sum_items},
      {"title", &title_words},
      {"tojson", &to_json},
      {"trim", &trim},
      {"unique", &unique},
      {"upper", &by_method<kUpper>},
      {"wordcount",
       [](const Value& v, const Arguments&, Budget& b) -> Value {
         return split(text_of(v, b), {}, -1).size();
       }},
  };
  return all;
}

}  // namespace

bool is_filter(std::string_view name) { return filters().contains(name); }

Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments, Budget& budget) {
  const auto found = filters().find(name);
  if (found == filters().end()) throw Error("there is no filter '" + std::string(name.substr(0, 60)) + "'");
  budget.spend(1);
  return found->second(value, arguments, budget);
}

}  // namespace outrider::chat::jinja

// Methods of strings, lists and dictionaries, and the global functions.
#include <algorithm>
#include <array>
#include <ctime>

#include "base/text.h"
#include "base/utf8.h"
#include "chat/jinja_builtins.h"
#include "chat/jinja_text.h"

namespace outrider::chat::jinja {
namespace {

constexpr Integer kMaxRange = 100000;  // as jinja2's sandbox

const std::string& text_argument(const Arguments& arguments, size_t position, std::string_view name) {
  const Value* found = argument(arguments, position, name);
  if (found == nullptr || !found->is_string())
    throw Error("expected a string as argument " + std::string(name));
  return *found->string();
}

std::optional<std::string_view> optional_text(const Arguments& arguments, size_t position,
                                              std::string_view name) {
  const Value* found = argument(arguments, position, name);
  if (found == nullptr || found->is_none()) return std::nullopt;
  return text_argument(arguments, position, name);
}

int64_t integer_argument(const Arguments& arguments, size_t position, std::string_view name,
                         int64_t initial) {
  const Value* found = argument(arguments, position, name);
  if (found == nullptr) return initial;
  if (!found->is_integer()) throw Error("expected an integer as argument " + std::string(name));
  return static_cast<int64_t>(std::clamp<Integer>(found->integer(), INT64_MIN, INT64_MAX));
}

Value list_of(const std::vector<std::string_view>& parts) {
  std::vector<Value> out;
  out.reserve(parts.size());
  for (const std::string_view part : parts) out.emplace_back(part);
  return Value::list(std::move(out));
}

bool starts_or_ends(const std::string& text, const Arguments& arguments, bool at_start) {
  const Value* wanted = argument(arguments, 0, "prefix");
  if (wanted == nullptr) throw Error("startswith and endswith need an argument");
  const auto matches = [&](const Value& value) {
    if (!value.is_string()) throw Error("startswith and endswith take a string or a tuple of strings");
    return at_start ? text.starts_with(*value.string()) : text.ends_with(*value.string());
  };
  if (wanted->list() == nullptr) return matches(*wanted);
  return std::any_of(wanted->list()->items.begin(), wanted->list()->items.end(), matches);
}

// str.find() and rfind(), in code points; -1: not there.
Integer find_in(const std::string& text, const Arguments& arguments, bool last) {
  if (arguments.positional.size() > 1) throw Error("find and index take one argument");
  const std::string& wanted = text_argument(arguments, 0, "sub");
  const size_t found = last ? text.rfind(wanted) : text.find(wanted);
  if (found == std::string::npos) return -1;
  return static_cast<Integer>(count_code_points(std::string_view(text).substr(0, found)));
}

size_t count_in(std::string_view text, std::string_view wanted) {
  if (wanted.empty()) return count_code_points(text) + 1;
  size_t count = 0;
  for (size_t at = text.find(wanted); at != std::string_view::npos;
       at = text.find(wanted, at + wanted.size()))
    ++count;
  return count;
}

Value replaced(const std::string& text, const Arguments& arguments, Budget& budget) {
  const std::string &from = text_argument(arguments, 0, "old"), &to = text_argument(arguments, 1, "new");
  budget.spend_bytes(text.size() + count_in(text, from) * to.size());
  return replace(text, from, to, integer_argument(arguments, 2, "count", -1));
}

Value separated(const std::string& text, const Arguments& arguments, bool right) {
  const auto separator = optional_text(arguments, 0, "sep");
  if (separator && separator->empty()) throw Error("empty separator");
  const int64_t limit = integer_argument(arguments, 1, "maxsplit", -1);
  return list_of(right ? split_right(text, separator, limit) : split(text, separator, limit));
}

Value partition(const std::string& text, const Arguments& arguments, bool right) {
  const std::string& separator = text_argument(arguments, 0, "sep");
  if (separator.empty()) throw Error("empty separator");
  const size_t found = right ? text.rfind(separator) : text.find(separator);
  std::vector<Value> parts = {"", "", ""};
  if (found == std::string::npos) {
    parts[right ? 2 : 0] = text;
  } else {
    parts = {text.substr(0, found), separator, text.substr(found + separator.size())};
  }
  return Value::list(std::move(parts), true);
}

// str.format() with {}, {0} and {name}; no format specifications.
Value formatted(const std::string& form, const Arguments& arguments, Budget& budget) {
  std::string out;
  size_t next = 0;
  for (size_t at = 0; at < form.size(); ++at) {
    const char c = form[at];
    if ((c == '{' || c == '}') && at + 1 < form.size() && form[at + 1] == c) {
      out += c;
      ++at;
    } else if (c == '{') {
      const size_t end = form.find('}', at);
      if (end == std::string::npos) throw Error("expected '}' before end of string");
      const std::string name = form.substr(at + 1, end - at - 1);
      const bool digits = name.size() < 6 &&
                          std::all_of(name.begin(), name.end(), [](char d) { return d >= '0' && d <= '9'; });
      const size_t position = name.empty() ? next++ : digits ? std::stoul(name) : SIZE_MAX;
      const Value* value = argument(arguments, position, name);
      if (value == nullptr) throw Error("format has no argument for {" + name.substr(0, 60) + "}");
      const std::string text = value->text();
      budget.spend_bytes(text.size());
      out += text;
      at = end;
    } else if (c == '}') {
      throw Error("single '}' encountered in format string");
    } else {
      out += c;
    }
  }
  return out;
}

Value joined(const std::string& separator, const Arguments& arguments, Budget& budget) {
  const Value* items = argument(arguments, 0, "iterable");
  if (items == nullptr) throw Error("join needs a list");
  std::string out;
  bool first = true;
  for (const Value& item : items_of(*items, budget)) {
    if (!item.is_string()) throw Error(std::string("join: expected str, found ") + item.type_name());
    budget.spend_bytes(separator.size() + item.string()->size());
    if (!first) out += separator;
    out += *item.string();
    first = false;
  }
  return out;
}

Value padded(const std::string& text, const Arguments& arguments, std::string_view method, Budget& budget) {
  const auto length = static_cast<int64_t>(count_code_points(text));
  const int64_t width = integer_argument(arguments, 0, "width", 0);
  const std::string fill =
      method == "zfill" ? "0" : std::string(optional_text(arguments, 1, "fillchar").value_or(" "));
  if (count_code_points(fill) != 1) throw Error("the fill character must be exactly one character long");
  if (width <= length) return text;
  if (width > 1000000) throw Error("a string grows too long");
  const auto missing = static_cast<size_t>(width - length);
  budget.spend_bytes(static_cast<size_t>(width));
  size_t left = method == "ljust" ? 0 : missing;
  if (method == "center") left = missing / 2 + (missing & static_cast<size_t>(width) & 1);
  std::string out;
  const bool sign = method == "zfill" && !text.empty() && (text[0] == '-' || text[0] == '+');
  if (sign) out += text[0];
  for (size_t i = 0; i < left; ++i) out += fill;
  out += sign ? text.substr(1) : text;
  for (size_t i = left; i < missing; ++i) out += fill;
  return out;
}

// isdigit() and its kin; letters outside ASCII count as letters without case.
bool is_all(const std::string& text, std::string_view method) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<uint8_t>(c) >= 0x80;
  };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto all = [&](auto rule) { return !text.empty() && std::all_of(text.begin(), text.end(), rule); };
  if (method == "isdigit" || method == "isdecimal" || method == "isnumeric") return all(digit);
  if (method == "isalpha") return all(letter);
  if (method == "isalnum") return all([&](char c) { return letter(c) || digit(c); });
  if (method == "isupper") return upper(text) == text && lower_case(text) != text;
  if (method == "islower") return lower_case(text) == text && upper(text) != text;
  return !text.empty() && strip(text, Side::kBoth, {}).empty();
}

Value text_method(const std::string& text, std::string_view method, const Arguments& arguments,
                  Budget& budget) {
  budget.spend_bytes(text.size());
  const auto stripped = [&](Side side) {
    return Value(strip(text, side, optional_text(arguments, 0, "chars")));
  };
  if (method == "strip") return stripped(Side::kBoth);
  if (method == "lstrip") return stripped(Side::kLeft);
  if (method == "rstrip") return stripped(Side::kRight);
  if (method == "split" || method == "rsplit") {
    budget.spend(text.size() / 4);
    return separated(text, arguments, method == "rsplit");
  }
  if (method == "splitlines") {
    budget.spend(text.size() / 4);
    const Value* keep = argument(arguments, 0, "keepends");
    return list_of(split_lines(text, keep != nullptr && keep->truth()));
  }
  if (method == "startswith" || method == "endswith")
    return starts_or_ends(text, arguments, method == "startswith");
  if (method == "replace") return replaced(text, arguments, budget);
  if (method == "upper") return upper(text);
  if (method == "lower" || method == "casefold") return lower_case(text);
  if (method == "title") return title(text);
  if (method == "capitalize") return capitalize(text);
  if (method == "find" || method == "rfind") return Value(find_in(text, arguments, method == "rfind"));
  if (method == "index" || method == "rindex") {
    const Integer found = find_in(text, arguments, method == "rindex");
    if (found < 0) throw Error("substring not found");
    return Value(found);
  }
  if (method == "count") return count_in(text, text_argument(arguments, 0, "sub"));
  if (method == "join") return joined(text, arguments, budget);
  if (method == "format") return formatted(text, arguments, budget);
  if (method == "partition" || method == "rpartition")
    return partition(text, arguments, method == "rpartition");
  if (method == "removeprefix" || method == "removesuffix") {
    const std::string& part = text_argument(arguments, 0, "prefix");
    if (method == "removeprefix") return text.starts_with(part) ? text.substr(part.size()) : text;
    return text.ends_with(part) ? text.substr(0, text.size() - part.size()) : text;
  }
  if (method == "zfill" || method == "ljust" || method == "rjust" || method == "center") {
    return padded(text, arguments, method, budget);
  }
  return is_all(text, method);
}

Value dict_method(const Dict& dict, std::string_view method, const Arguments& arguments, Budget& budget) {
  budget.spend(dict.items.size());
  if (method == "get") {
    const Value* key = argument(arguments, 0, "key");
    if (key == nullptr) throw Error("get expected at least 1 argument, got 0");
    const Value* found = dict.find(*key);
    const Value* initial = argument(arguments, 1, "default");
    return found != nullptr ? *found : initial != nullptr ? *initial : Value();
  }
  std::vector<Value> out;
  for (const auto& [key, value] : dict.items) {
    out.push_back(method == "keys" ? key : method == "values" ? value : Value::list({key, value}, true));
  }
  return Value::list(std::move(out));
}

Value list_method(const List& list, std::string_view method, const Arguments& arguments, Budget& budget) {
  budget.spend(list.items.size());
  const Value* wanted = argument(arguments, 0, "value");
  if (wanted == nullptr) throw Error(std::string(method) + " needs an argument");
  const auto equals = [&](const Value& item) { return Value::equal(item, *wanted); };
  if (method == "count")
    return static_cast<size_t>(std::count_if(list.items.begin(), list.items.end(), equals));
  const auto found = std::find_if(list.items.begin(), list.items.end(), equals);
  if (found == list.items.end()) throw Error(wanted->repr().substr(0, 100) + " is not in list");
  return static_cast<size_t>(found - list.items.begin());
}

template <size_t N>
bool is_in(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr std::array<std::string_view, 38> kTextMethods = {
    "strip",   "lstrip",  "rstrip",  "split",        "rsplit",  "splitlines", "startswith", "endswith",
    "replace", "upper",   "lower",   "casefold",     "title",   "capitalize", "find",       "rfind",
    "index",   "rindex",  "count",   "join",         "format",  "partition",  "rpartition", "removeprefix",
    "zfill",   "ljust",   "rjust",   "removesuffix", "center",  "isdigit",    "isdecimal",  "isnumeric",
    "isalpha", "isalnum", "isupper", "islower",      "isspace", "isspace"};
constexpr std::array<std::string_view, 4> kDictMethods = {"get", "items", "keys", "values"};
constexpr std::array<std::string_view, 2> kListMethods = {"count", "index"};
constexpr std::array<std::string_view, 13> kChangingMethods = {
    "append", "clear",  "extend",  "insert", "pop",        "remove", "reverse",
    "sort",   "update", "popitem", "add",    "setdefault", "discard"};

Value range(const Arguments& arguments, Budget& budget) {
  const size_t count = arguments.positional.size();
  if (count < 1 || count > 3) throw Error("range takes one to three integers");
  const Integer begin = count == 1 ? 0 : integer_argument(arguments, 0, "start", 0);
  const Integer end = integer_argument(arguments, count == 1 ? 0 : 1, "stop", 0);
  const Integer step = integer_argument(arguments, 2, "step", 1);
  if (step == 0) throw Error("range() arg 3 must not be zero");
  const Integer distance = step > 0 ? end - begin : begin - end;
  const Integer length = distance <= 0 ? 0 : (distance - 1) / (step > 0 ? step : -step) + 1;
  if (length > kMaxRange)
    throw Error("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
  budget.spend(static_cast<size_t>(length));
  std::vector<Value> out;
  for (Integer i = 0; i < length; ++i) out.emplace_back(begin + i * step);
  return Value::list(std::move(out));
}

Value time_text(const Arguments& arguments) {
  const std::string& form = text_argument(arguments, 0, "format");
  if (form.size() > 200) throw Error("strftime_now: the format is too long");
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char buffer[2048];
  return std::string(buffer, std::strftime(buffer, sizeof(buffer), form.c_str(), &parts));
}

}  // namespace

std::optional<Value> find_method(const Value& object, std::string_view name, Budget& budget) {
  const bool is_text = object.is_string(), is_dict = object.dict() != nullptr,
             is_list = object.list() != nullptr;
  if (!is_text && is_in(kChangingMethods, name) && (is_dict || is_list)) {
    throw Error("access to attribute '" + std::string(name) + "' of '" + object.type_name() +
                "' object is unsafe.");
  }
  const bool known = (is_text && is_in(kTextMethods, name)) || (is_dict && is_in(kDictMethods, name)) ||
                     (is_list && is_in(kListMethods, name));
  if (!known) return std::nullopt;
  auto method = std::make_shared<Callable>();
  method->name = name;
  method->call = [object, name = method->name, &budget](const Arguments& arguments) {
    if (const std::string* text = object.string()) return text_method(*text, name, arguments, budget);
    if (const Dict* dict = object.dict()) return dict_method(*dict, name, arguments, budget);
    return list_method(*object.list(), name, arguments, budget);
  };
  return Value(Value::Data(std::shared_ptr<const Callable>(std::move(method))));
}

std::optional<Value> find_global(std::string_view name, Budget& budget) {
  auto function = std::make_shared<Callable>();
  function->name = name;
  if (name == "range") {
    function->call = [&budget](const Arguments& arguments) { return range(arguments, budget); };
  } else if (name == "dict") {
    function->call = [](const Arguments& arguments) {
      std::vector<std::pair<Value, Value>> items;
      if (!arguments.positional.empty()) {
        if (arguments.positional[0].dict() == nullptr) throw Error("dict takes a dictionary and keywords");
        items = arguments.positional[0].dict()->items;
      }
      for (const auto& [key, value] : arguments.keywords) items.emplace_back(key, value);
      return Value::dict(std::move(items));
    };
  } else if (name == "raise_exception") {
    function->call = [](const Arguments& arguments) -> Value {
      throw Error(text_argument(arguments, 0, "message"));
    };
  } else if (name == "strftime_now") {
    function->call = &time_text;
  } else {
    return std::nullopt;
  }
  return Value(Value::Data(std::shared_ptr<const Callable>(std::move(function))));
}

}  // namespace outrider::chat::jinja

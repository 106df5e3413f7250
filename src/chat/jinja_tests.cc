// Tests: what may follow `is`.
#include <map>

#include "base/text.h"
#include "chat/jinja_builtins.h"
#include "chat/jinja_text.h"

namespace outrider::chat::jinja {
namespace {

using Test = bool (*)(const Value& value, const Arguments& arguments, Budget& budget);

template <const char* kOperator>
bool by_operator(const Value& value, const Arguments& arguments, Budget& budget) {
  return compares(kOperator, value, required(arguments, 0, "other"), budget);
}
constexpr char kEq[] = "==", kNe[] = "!=", kLt[] = "<", kLe[] = "<=", kGt[] = ">", kGe[] = ">=", kIn[] = "in";

bool divisible(const Value& value, Integer by, Budget& budget) {
  if (!value.is_integer()) throw Error("the test needs an integer");
  return binary("%", value, Value(by), budget).integer() == 0;
}

bool is_iterable(const Value& v) {
  return v.is_undefined() || v.is_string() || v.list() != nullptr || v.dict() != nullptr;
}

bool same(const Value& a, const Value& b) {
  return a.data().index() == b.data().index() && Value::equal(a, b);
}

const std::map<std::string_view, Test>& tests() {
  static const std::map<std::string_view, Test> all = {
      {"!=", &by_operator<kNe>},
      {"<", &by_operator<kLt>},
      {"<=", &by_operator<kLe>},
      {"==", &by_operator<kEq>},
      {">", &by_operator<kGt>},
      {">=", &by_operator<kGe>},
      {"boolean", [](const Value& v, const Arguments&, Budget&) { return v.is_bool(); }},
      {"callable", [](const Value& v, const Arguments&, Budget&) { return v.callable() != nullptr; }},
      {"defined", [](const Value& v, const Arguments&, Budget&) { return !v.is_undefined(); }},
      {"divisibleby",
       [](const Value& v, const Arguments& a, Budget& b) {
         const Value& by = required(a, 0, "num");
         if (!by.is_integer()) throw Error("the test needs an integer");
         return divisible(v, by.integer(), b);
       }},
      {"eq", &by_operator<kEq>},
      {"equalto", &by_operator<kEq>},
      {"even", [](const Value& v, const Arguments&, Budget& b) { return divisible(v, 2, b); }},
      {"false", [](const Value& v, const Arguments&, Budget&) { return v.is_bool() && !v.truth(); }},
      {"filter",
       [](const Value& v, const Arguments&, Budget&) { return v.is_string() && is_filter(*v.string()); }},
      {"float", [](const Value& v, const Arguments&, Budget&) { return v.is_float(); }},
      {"ge", &by_operator<kGe>},
      {"greaterthan", &by_operator<kGt>},
      {"gt", &by_operator<kGt>},
      {"in", &by_operator<kIn>},
      {"integer", [](const Value& v, const Arguments&, Budget&) { return v.is_integer() && !v.is_bool(); }},
      {"iterable", [](const Value& v, const Arguments&, Budget&) { return is_iterable(v); }},
      {"le", &by_operator<kLe>},
      {"lessthan", &by_operator<kLt>},
      {"lower", [](const Value& v, const Arguments&,
                   Budget&) { return lower_case(v.text()) == v.text() && upper(v.text()) != v.text(); }},
      {"lt", &by_operator<kLt>},
      {"mapping", [](const Value& v, const Arguments&, Budget&) { return v.dict() != nullptr; }},
      {"ne", &by_operator<kNe>},
      {"none", [](const Value& v, const Arguments&, Budget&) { return v.is_none(); }},
      {"number", [](const Value& v, const Arguments&, Budget&) { return v.is_number(); }},
      {"odd", [](const Value& v, const Arguments&, Budget& b) { return !divisible(v, 2, b); }},
      {"sameas",
       [](const Value& v, const Arguments& a, Budget&) { return same(v, required(a, 0, "other")); }},
      {"sequence", [](const Value& v, const Arguments&, Budget&) { return is_iterable(v); }},
      {"string", [](const Value& v, const Arguments&, Budget&) { return v.is_string(); }},
      {"test",
       [](const Value& v, const Arguments&, Budget&) { return v.is_string() && is_test(*v.string()); }},
      {"true", [](const Value& v, const Arguments&, Budget&) { return v.is_bool() && v.truth(); }},
      {"undefined", [](const Value& v, const Arguments&, Budget&) { return v.is_undefined(); }},
      {"upper", [](const Value& v, const Arguments&,
                   Budget&) { return upper(v.text()) == v.text() && lower_case(v.text()) != v.text(); }},
  };
  return all;
}

}  // namespace

bool is_test(std::string_view name) { return tests().contains(name); }

bool apply_test(std::string_view name, const Value& value, const Arguments& arguments, Budget& budget) {
  const auto found = tests().find(name);
  if (found == tests().end()) throw Error("there is no test '" + std::string(name.substr(0, 60)) + "'");
  budget.spend(1);
  return found->second(value, arguments, budget);
}

}  // namespace outrider::chat::jinja

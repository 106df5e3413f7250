// Filters, tests, methods and global functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "chat/jinja_value.h"

namespace outrider::chat::jinja {

// What one rendering may cost. Counts work in units of about one visited node or 32 bytes; throws Error when
// it is used up, so that neither a template nor messages can hold a thread or fill the memory.
class Budget {
 public:
  void spend(size_t units) {
    if (units > left_) throw Error("the chat template does too much work");
    left_ -= units;
  }
  void spend_bytes(size_t bytes) { spend(bytes / 32 + 1); }

 private:
  size_t left_ = size_t{10} << 20;
};

bool is_filter(std::string_view name);
bool is_test(std::string_view name);

Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments, Budget& budget);
bool apply_test(std::string_view name, const Value& value, const Arguments& arguments, Budget& budget);

// A method of a string, list or dictionary; nothing when there is none of that name. Throws for methods that
// would change the object.
std::optional<Value> find_method(const Value& object, std::string_view name, Budget& budget);

// range, namespace, dict, raise_exception, strftime_now. `make_namespace` is the renderer's.
std::optional<Value> find_global(std::string_view name, Budget& budget);

// What a `for` runs over. Throws for what cannot be iterated.
std::vector<Value> items_of(const Value& value, Budget& budget);

// object.name and object[key], as jinja2 looks them up: undefined when there is nothing.
Value attribute_of(const Value& object, const std::string& name, Budget& budget);
Value item_of(const Value& object, const Value& key, Budget& budget);
Value slice_of(const Value& object, const std::optional<Integer>& begin, const std::optional<Integer>& end,
               Integer step, Budget& budget);
bool contains(const Value& container, const Value& item, Budget& budget);

// Python's operators + - * / // % ** and comparisons.
Value binary(std::string_view op, const Value& left, const Value& right, Budget& budget);
bool compares(std::string_view op, const Value& left, const Value& right, Budget& budget);

// An argument by position or name; nothing when it is not given.
const Value* argument(const Arguments& arguments, size_t position, std::string_view name);
// The same; throws when it is not given.
const Value& required(const Arguments& arguments, size_t position, std::string_view name);
[[noreturn]] void refuse_undefined(const Value& value);
std::string percent_format(const std::string& form, const Value& arguments, Budget& budget);

}  // namespace outrider::chat::jinja

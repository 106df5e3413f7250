// Values of templates, as Python's. Strings are UTF-8, indexed by code point as Python's str. Everything but
// a namespace is immutable, as in jinja2's ImmutableSandboxedEnvironment, so that values can share their
// parts.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace outrider::chat::jinja {

using Json = nlohmann::ordered_json;
__extension__ typedef __int128 Integer;  // holds every integer of JSON and its products

// What is wrong with a template, or with what it was given; `what()` is for people.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Value;
struct List;
struct Dict;
struct Namespace;
struct Callable;
struct Loop;

struct Undefined {
  std::string hint;  // "'x' is undefined"
};
struct None {};

class Value {
 public:
  using Data =
      std::variant<Undefined, None, bool, Integer, double, std::shared_ptr<const std::string>,
                   std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
                   std::shared_ptr<const Callable>, std::shared_ptr<Loop>>;

  // Implicit, so that what C++ computes can be returned as a value.
  // NOLINTBEGIN(google-explicit-constructor)
  Value() : data_(None{}) {}
  Value(bool value) : data_(value) {}
  Value(Integer value) : data_(value) {}
  Value(int value) : data_(Integer{value}) {}
  Value(size_t value) : data_(static_cast<Integer>(value)) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::make_shared<const std::string>(std::move(value))) {}
  Value(std::string_view value) : Value(std::string(value)) {}
  Value(const char* value) : Value(std::string(value)) {}
  Value(Undefined value) : data_(std::move(value)) {}
  Value(Data data) : data_(std::move(data)) {}
  // NOLINTEND(google-explicit-constructor)

  static Value list(std::vector<Value> items, bool tuple = false);
  // Later values of equal keys win. Throws for keys that Python cannot hash.
  static Value dict(std::vector<std::pair<Value, Value>> items);
  static Value from_json(const Json& json);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_integer() const { return std::holds_alternative<Integer>(data_) || is_bool(); }  // as in Python
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_integer() || is_float(); }
  bool is_string() const { return std::holds_alternative<std::shared_ptr<const std::string>>(data_); }
  const std::string* string() const { return pointer<const std::string>(); }
  const List* list() const { return pointer<const List>(); }
  const Dict* dict() const { return pointer<const Dict>(); }
  Namespace* name_space() const { return pointer<Namespace>(); }
  const Callable* callable() const { return pointer<const Callable>(); }
  Loop* loop() const { return pointer<Loop>(); }
  const Data& data() const { return data_; }

  bool truth() const;
  Integer integer() const;        // of an integer or bool
  double number() const;          // of a number
  int depth() const;              // of nested lists and dicts; 0 for all else
  size_t weight() const;          // about the bytes of its text; parts that are shared count each time
  const char* type_name() const;  // Python's
  std::string text() const;       // str(); throws where it would be too long
  std::string repr() const;

  static bool equal(const Value& a, const Value& b);
  // Negative, 0 or positive. Throws for types that Python does not order.
  static int compare(const Value& a, const Value& b);

 private:
  template <class T>
  T* pointer() const {
    const auto* found = std::get_if<std::shared_ptr<T>>(&data_);
    return found == nullptr ? nullptr : found->get();
  }

  Data data_;
};

struct List {
  std::vector<Value> items;
  bool tuple = false;
  int depth = 1;
  size_t weight = 0;
};

struct Dict {
  std::vector<std::pair<Value, Value>> items;
  int depth = 1;
  size_t weight = 0;

  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
};

// Belongs to the renderer, which empties it in the end: namespaces may hold each other.
struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;

  Value* find(std::string_view name);
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keywords;
};

struct Callable {
  std::string name;
  std::function<Value(const Arguments&)> call;
};

// The variable `loop`.
struct Loop {
  std::shared_ptr<const List> items;
  size_t index = 0;  // from 0
  int depth = 1;     // of nested loops
  Value changed;     // what loop.changed() saw last
  bool asked_changed = false;
};

std::string integer_text(Integer value);

// Code points of a UTF-8 text.
size_t count_code_points(std::string_view text);
std::vector<std::string_view> split_code_points(std::string_view text);

}  // namespace outrider::chat::jinja

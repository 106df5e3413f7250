// Request fields as a table: name, where the value goes (whose type is the field's type), range. Coercions
// and error texts are pydantic's, as clients of vLLM know them. Null equals absent everywhere.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/json_text.h"

namespace outrider::server {

// A string or a list of strings.
struct StringList {
  std::vector<std::string> values;
};

class FieldErrors {
 public:
  // `place` is what follows 'body' in the location, spelled for Python: ", 'stop', 0".
  void add(std::string_view type, const std::string& place, std::string_view message, const Json& input,
           std::string_view context = {});
  // Throws RequestError of type "Bad Request" with Python's list of all errors.
  void throw_if_any() const;

 private:
  std::vector<std::string> errors_;
};

// A rule that more than one field has a part in. Throws.
[[noreturn]] void throw_value_error(const Json& body, const std::string& text);

struct Range {
  int64_t min = std::numeric_limits<int64_t>::min();
  int64_t max = std::numeric_limits<int64_t>::max();
};

// Each reads one JSON value that is not null. Integers beyond 64 bits are taken as the nearest 64-bit one, so
// that later range checks see them as huge.
void read_value(const Json& json, const std::string& place, Range range, FieldErrors& errors,
                std::optional<bool>& out);
void read_value(const Json& json, const std::string& place, Range range, FieldErrors& errors,
                std::optional<int64_t>& out);
void read_value(const Json& json, const std::string& place, Range range, FieldErrors& errors,
                std::optional<double>& out);
void read_value(const Json& json, const std::string& place, Range range, FieldErrors& errors,
                std::optional<std::string>& out);
void read_value(const Json& json, const std::string& place, Range range, FieldErrors& errors,
                StringList& out);
void read_value(const Json& json, const std::string& place, Range range, FieldErrors& errors,
                std::optional<std::vector<int64_t>>& out);
void read_value(const Json& json, const std::string& place, Range range, FieldErrors& errors, Json& out);

template <class R>
struct Field {
  const char* name;
  std::variant<std::optional<bool> R::*, std::optional<int64_t> R::*, std::optional<double> R::*,
               std::optional<std::string> R::*, StringList R::*, std::optional<std::vector<int64_t>> R::*,
               Json R::*>
      member;
  Range range = {};
};

std::string place_of(std::string_view name);  // ", 'name'"

template <class R>
void read_fields(const Json& object, std::span<const Field<R>> table, R& out, FieldErrors& errors,
                 const std::string& prefix = {}) {
  for (const Field<R>& field : table) {
    const auto found = object.find(field.name);
    if (found == object.end() || found->is_null()) continue;
    std::visit(
        [&](auto member) {
          read_value(*found, prefix + place_of(field.name), field.range, errors, out.*member);
        },
        field.member);
  }
}

}  // namespace outrider::server

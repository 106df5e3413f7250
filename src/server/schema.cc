#include "server/schema.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/python_repr.h"
#include "base/text.h"

namespace outrider::server {
namespace {

constexpr size_t kMaxReprBytes = 2000;  // of a client's value in an answer

constexpr double kTwoTo63 = 9223372036854775808.0;

int64_t saturate(double whole) {
  if (whole >= kTwoTo63) return std::numeric_limits<int64_t>::max();
  if (whole < -kTwoTo63) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(whole);
}

std::optional<double> parse_number(std::string_view text) {
  text = trim(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || text.empty()) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::numeric_limits<double>::infinity();
  if (error != std::errc()) return std::nullopt;
  return value;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  text = trim(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  const std::optional<double> number = parse_number(text);  // "10.0", or too large for 64 bits
  if (!number || !std::isfinite(*number) || *number != std::floor(*number)) return std::nullopt;
  return saturate(*number);
}

// Null when the value was no integer; the error has then been added.
std::optional<int64_t> to_integer(const Json& json, const std::string& place, FieldErrors& errors) {
  if (json.is_boolean()) return json.get<bool>() ? 1 : 0;
  if (json.is_number_unsigned()) {
    return static_cast<int64_t>(
        std::min<uint64_t>(json.get<uint64_t>(), std::numeric_limits<int64_t>::max()));
  }
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number_float()) {
    const double value = json.get<double>();
    if (value == std::floor(value)) return saturate(value);
    errors.add("int_from_float", place,
               "Input should be a valid integer, got a number with a fractional part", json);
    return std::nullopt;
  }
  if (json.is_string()) {
    const std::optional<int64_t> value = parse_integer(json.get_ref<const std::string&>());
    if (!value) {
      errors.add("int_parsing", place,
                 "Input should be a valid integer, unable to parse string as an integer", json);
    }
    return value;
  }
  errors.add("int_type", place, "Input should be a valid integer", json);
  return std::nullopt;
}

std::optional<bool> parse_bool(std::string_view text) {
  for (const char* word : {"true", "1", "yes", "on", "t", "y"}) {
    if (equals_ignoring_case(text, word)) return true;
  }
  for (const char* word : {"false", "0", "no", "off", "f", "n"}) {
    if (equals_ignoring_case(text, word)) return false;
  }
  return std::nullopt;
}

}  // namespace

void FieldErrors::add(std::string_view type, const std::string& place, std::string_view message,
                      const Json& input, std::string_view context) {
  if (errors_.size() >= 10)
    return;  // enough to tell; a list of a million strings must not make a huge answer
  std::string error = "{'type': '" + std::string(type) + "', 'loc': ('body'" + (place.empty() ? "," : place) +
                      "), 'msg': " + python_repr(Json(message), kMaxReprBytes) +
                      ", 'input': " + python_repr(input, kMaxReprBytes);
  if (!context.empty()) error += ", 'ctx': " + std::string(context);
  errors_.push_back(error + "}");
}

void FieldErrors::throw_if_any() const {
  if (errors_.empty()) return;
  std::string list = "[";
  for (const std::string& error : errors_) list += (list.size() > 1 ? ", " : "") + error;
  throw RequestError(list + "]", "Bad Request");
}

void throw_value_error(const Json& body, const std::string& text) {
  FieldErrors errors;
  errors.add("value_error", "", "Value error, " + text, body,
             "{'error': ValueError(" + python_repr(Json(text), kMaxReprBytes) + ")}");
  errors.throw_if_any();
  throw RequestError(text, "Bad Request");  // not reached: the list holds one error
}

std::string place_of(std::string_view name) { return ", '" + std::string(name) + "'"; }

void read_value(const Json& json, const std::string& place, Range, FieldErrors& errors,
                std::optional<bool>& out) {
  if (json.is_boolean()) {
    out = json.get<bool>();
  } else if (json.is_number()) {
    const double value = json.get<double>();
    if (value == 0 || value == 1) {
      out = value == 1;
    } else {
      errors.add("bool_parsing", place, "Input should be a valid boolean, unable to interpret input", json);
    }
  } else if (json.is_string()) {
    out = parse_bool(json.get_ref<const std::string&>());
    if (!out)
      errors.add("bool_parsing", place, "Input should be a valid boolean, unable to interpret input", json);
  } else {
    errors.add("bool_type", place, "Input should be a valid boolean", json);
  }
}

void read_value(const Json& json, const std::string& place, Range range, FieldErrors& errors,
                std::optional<int64_t>& out) {
  const std::optional<int64_t> value = to_integer(json, place, errors);
  if (!value) return;
  if (*value < range.min) {
    errors.add("greater_than_equal", place,
               "Input should be greater than or equal to " + std::to_string(range.min), json,
               "{'ge': " + std::to_string(range.min) + "}");
  } else if (*value > range.max ||
             (json.is_number_unsigned() && json.get<uint64_t>() > uint64_t(range.max))) {
    errors.add("less_than_equal", place, "Input should be less than or equal to " + std::to_string(range.max),
               json, "{'le': " + std::to_string(range.max) + "}");
  } else {
    out = value;
  }
}

void read_value(const Json& json, const std::string& place, Range, FieldErrors& errors,
                std::optional<double>& out) {
  if (json.is_boolean()) {
    out = json.get<bool>() ? 1.0 : 0.0;
  } else if (json.is_number()) {
    out = json.get<double>();
  } else if (json.is_string()) {
    out = parse_number(json.get_ref<const std::string&>());
    if (!out) {
      errors.add("float_parsing", place, "Input should be a valid number, unable to parse string as a number",
                 json);
      return;
    }
  } else {
    errors.add("float_type", place, "Input should be a valid number", json);
    return;
  }
  if (!std::isfinite(*out)) {
    out.reset();
    errors.add("finite_number", place, "Input should be a finite number", json);
  }
}

void read_value(const Json& json, const std::string& place, Range, FieldErrors& errors,
                std::optional<std::string>& out) {
  if (json.is_string()) {
    out = json.get<std::string>();
  } else {
    errors.add("string_type", place, "Input should be a valid string", json);
  }
}

void read_value(const Json& json, const std::string& place, Range, FieldErrors& errors, StringList& out) {
  if (json.is_string()) {
    out.values = {json.get<std::string>()};
    return;
  }
  if (!json.is_array()) {
    errors.add("string_type", place + ", 'str'", "Input should be a valid string", json);
    errors.add("list_type", place + ", 'list[str]'", "Input should be a valid list", json);
    return;
  }
  for (size_t i = 0; i < json.size(); ++i) {
    if (json[i].is_string()) {
      out.values.push_back(json[i].get<std::string>());
    } else {
      errors.add("string_type", place + ", 'list[str]', " + std::to_string(i),
                 "Input should be a valid string", json[i]);
    }
  }
}

void read_value(const Json& json, const std::string& place, Range, FieldErrors& errors,
                std::optional<std::vector<int64_t>>& out) {
  if (!json.is_array()) {
    errors.add("list_type", place, "Input should be a valid list", json);
    return;
  }
  out.emplace();
  out->reserve(json.size());
  for (size_t i = 0; i < json.size(); ++i) {
    const std::optional<int64_t> value = to_integer(json[i], place + ", " + std::to_string(i), errors);
    if (value) out->push_back(*value);
  }
}

void read_value(const Json& json, const std::string&, Range, FieldErrors&, Json& out) { out = json; }

}  // namespace outrider::server

#include "model/json_fields.h"

#include <cmath>

#include "base/error.h"

namespace outrider::model {

using nlohmann::json;

namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxShown = 120;

std::string range_text(int64_t low, int64_t high) {
  return low == high ? std::to_string(low) : std::to_string(low) + " to " + std::to_string(high);
}

std::string decimal(double value) { return json(value).dump(); }

}  // namespace

json parse_json_object(const std::string& text, const std::string& origin, size_t max_bytes) {
  if (text.size() > max_bytes)
    throw CheckpointError(origin + ": " + std::to_string(text.size()) + " bytes of JSON, expected at most " +
                          std::to_string(max_bytes));
  const auto limit_depth = [&](int depth, json::parse_event_t, json&) {
    if (depth > kMaxDepth)
      throw CheckpointError(origin + ": JSON nested deeper than " + std::to_string(kMaxDepth) + " levels");
    return true;
  };
  json document;
  try {
    document = json::parse(text, limit_depth);
  } catch (const json::parse_error& error) {
    throw CheckpointError(origin + ": not valid JSON at byte " + std::to_string(error.byte));
  } catch (const json::exception&) {  // e.g. a number beyond the range of double
    throw CheckpointError(origin + ": not valid JSON");
  }
  if (!document.is_object())
    throw CheckpointError(origin + ": is " + brief(document) + ", expected a JSON object");
  return document;
}

std::string brief(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array() && value.size() > 16) return "a list of " + std::to_string(value.size());
  if (value.is_array()) {
    std::string text = "[";
    for (const json& element : value) {
      if (text.size() > kMaxShown) return text + ", ...]";
      text += (text.size() > 1 ? ", " : "") + brief(element);
    }
    return text + "]";
  }
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > kMaxShown) text = text.substr(0, kMaxShown) + "...";
  return text;
}

std::string in_quotes(const std::string& name) { return brief(json(name)); }

Fields::Fields(const json& object, std::string origin, std::string path)
    : object_(object), origin_(std::move(origin)), path_(std::move(path)) {}

const json* Fields::find(const char* key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void Fields::fail(const char* key, const std::string& expected) const {
  const auto it = object_.find(key);
  const std::string found = it == object_.end() ? "is missing" : "is " + brief(*it);
  throw CheckpointError(origin_ + ": \"" + path_ + key + "\" " + found + ", expected " + expected);
}

int64_t Fields::checked_integer(const json& value, const char* key, int64_t low, int64_t high) const {
  const bool in_range =
      value.is_number_unsigned()
          ? value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX) && value.get<int64_t>() >= low &&
                value.get<int64_t>() <= high
          : value.is_number_integer() && value.get<int64_t>() >= low && value.get<int64_t>() <= high;
  if (!in_range) fail(key, "an integer, " + range_text(low, high));
  return value.get<int64_t>();
}

int64_t Fields::integer(const char* key, int64_t low, int64_t high, std::optional<int64_t> fallback) const {
  const json* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  if (value == nullptr) fail(key, "an integer, " + range_text(low, high));
  return checked_integer(*value, key, low, high);
}

double Fields::number(const char* key, double low, double high, std::optional<double> fallback,
                      bool low_excluded) const {
  const json* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  const std::string expected =
      "a number " + std::string(low_excluded ? "above " : "from ") + decimal(low) + " to " + decimal(high);
  if (value == nullptr || !value->is_number()) fail(key, expected);
  const double number = value->get<double>();
  if (!std::isfinite(number) || number < low || (low_excluded && number == low) || number > high)
    fail(key, expected);
  return number;
}

bool Fields::boolean(const char* key, bool fallback) const {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) fail(key, "true or false");
  return value->get<bool>();
}

std::string Fields::string(const char* key, const std::string& fallback) const {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) fail(key, "a string");
  return value->get<std::string>();
}

std::vector<int64_t> Fields::integers(const char* key, int64_t low, int64_t high) const {
  const json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array()) return {checked_integer(*value, key, low, high)};
  std::vector<int64_t> numbers;
  numbers.reserve(value->size());
  for (const json& element : *value) numbers.push_back(checked_integer(element, key, low, high));
  return numbers;
}

std::optional<Fields> Fields::object(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_object()) fail(key, "an object");
  return Fields(*value, origin_, path_ + key + ".");
}

}  // namespace outrider::model

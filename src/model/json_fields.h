// Reading fields of a JSON document written by others: every number has a range, every error names file, key,
// the value found and what was expected.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace outrider::model {

// A JSON object or CheckpointError. Refuses documents over `max_bytes` or nested deeper than 64, so that
// memory stays within a small multiple of the text.
nlohmann::json parse_json_object(const std::string& text, const std::string& origin,
                                 size_t max_bytes = 16 << 20);

// The value as JSON, cut to a length fit for an error line.
std::string brief(const nlohmann::json& value);

// A name from a foreign file in quotes, control characters escaped, cut to a length fit for an error line.
std::string in_quotes(const std::string& name);

// View of one object; does not own it. An explicit null counts as absent.
class Fields {
 public:
  Fields(const nlohmann::json& object, std::string origin, std::string path = "");

  // Null where the key is absent or null.
  const nlohmann::json* find(const char* key) const;
  bool has(const char* key) const { return object_.contains(key); }  // also when null

  int64_t integer(const char* key, int64_t low, int64_t high, std::optional<int64_t> fallback = {}) const;
  // (low, high] when `low_excluded`, else [low, high].
  double number(const char* key, double low, double high, std::optional<double> fallback = {},
                bool low_excluded = false) const;
  bool boolean(const char* key, bool fallback) const;
  std::string string(const char* key, const std::string& fallback) const;
  // A list of integers or a single one; empty where absent.
  std::vector<int64_t> integers(const char* key, int64_t low, int64_t high) const;
  // The object under `key`, or nothing.
  std::optional<Fields> object(const char* key) const;

  [[noreturn]] void fail(const char* key, const std::string& expected) const;

 private:
  int64_t checked_integer(const nlohmann::json& value, const char* key, int64_t low, int64_t high) const;

  const nlohmann::json& object_;
  std::string origin_;
  std::string path_;  // "text_config." inside a nested object
};

}  // namespace outrider::model

// What XGrammar 0.2.8 makes of a JSON schema: of $ref, const, enum, anyOf, oneOf, allOf and type it follows
// the first that is there, and leaves out what stands beside it and keywords that it does not know. Here such
// schemas are refused, or written so that nothing is left out.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>

#include "grammar/convert.h"

namespace outrider::grammar {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxDepth = 64;

constexpr std::string_view kUnknown[] = {"not",
                                         "if",
                                         "then",
                                         "else",
                                         "dependentRequired",
                                         "dependentSchemas",
                                         "dependencies",
                                         "contains",
                                         "minContains",
                                         "maxContains",
                                         "$dynamicRef",
                                         "$recursiveRef",
                                         "patternProperties",
                                         "propertyNames",
                                         "additionalItems"};

// That say what values there are, apart from `type` and those in kFirst.
constexpr std::string_view kConstraints[] = {"properties",
                                             "required",
                                             "additionalProperties",
                                             "patternProperties",
                                             "propertyNames",
                                             "minProperties",
                                             "maxProperties",
                                             "unevaluatedProperties",
                                             "items",
                                             "prefixItems",
                                             "minItems",
                                             "maxItems",
                                             "unevaluatedItems",
                                             "minLength",
                                             "maxLength",
                                             "pattern",
                                             "format",
                                             "minimum",
                                             "maximum",
                                             "exclusiveMinimum",
                                             "exclusiveMaximum",
                                             "multipleOf"};
// In XGrammar's order.
constexpr std::string_view kFirst[] = {"$ref", "const", "enum", "anyOf", "oneOf", "allOf"};
// From these it knows the type when none is given.
constexpr std::string_view kTelling[] = {"properties", "additionalProperties", "unevaluatedProperties",
                                         "items",      "prefixItems",          "unevaluatedItems"};

[[noreturn]] void refuse(const std::string& line) { throw std::runtime_error(line); }

std::string quoted(std::string_view keyword) { return "`" + std::string(keyword) + "`"; }

template <size_t N>
const std::string_view* first_of(const Json& schema, const std::string_view (&keywords)[N]) {
  for (const std::string_view& keyword : keywords) {
    if (schema.contains(keyword)) return &keyword;
  }
  return nullptr;
}

class Checker {
 public:
  void check(Json& schema, int depth) {
    if (depth > kMaxDepth) refuse("is nested deeper than " + std::to_string(kMaxDepth) + " schemas");
    if (!schema.is_object()) return;  // true, false; XGrammar says what is wrong with anything else
    if (const std::string_view* keyword = first_of(schema, kUnknown)) refuse_keyword(*keyword);
    write_in_ascii(schema);
    if (const auto unique = schema.find("uniqueItems"); unique != schema.end() && *unique != false)
      refuse_keyword("uniqueItems");
    const std::string_view* first = first_of(schema, kFirst);
    if (first != nullptr) {
      check_neighbours(schema, *first);
    } else if (!schema.contains("type") && first_of(schema, kTelling) == nullptr) {
      if (const std::string_view* keyword = first_of(schema, kConstraints))
        refuse(quoted(*keyword) + " needs a `type` beside it");
    }
    check_required(schema);
    check_parts(schema, depth);
  }

 private:
  [[noreturn]] static void refuse_keyword(std::string_view keyword) {
    refuse("the keyword " + quoted(keyword) + " is not supported");
  }

  // Only such patterns become automata that know of JSON's quotes.
  static void write_in_ascii(Json& schema) {
    const auto pattern = schema.find("pattern");
    if (pattern == schema.end() || !pattern->is_string()) return;
    const std::string& text = pattern->get_ref<const std::string&>();
    std::string ascii;
    for (size_t at = 0; at < text.size();) {
      const auto lead = static_cast<unsigned char>(text[at]);
      const size_t length = lead < 0x80   ? 1
                            : lead < 0xe0 ? 2
                            : lead < 0xf0 ? 3
                                          : 4;  // JSON texts are valid UTF-8
      if (length == 1) {
        ascii += text[at++];
        continue;
      }
      uint32_t code_point = lead & (0x7fu >> length);
      for (size_t i = 1; i < length; ++i)
        code_point = code_point << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3f);
      char escape[16];
      std::snprintf(escape, sizeof escape, "\\u{%x}", code_point);
      ascii += escape;
      at += length;
    }
    *pattern = ascii;
  }

  static void check_neighbours(Json& schema, std::string_view first) {
    for (const std::string_view keyword : kFirst) {
      if (keyword != first && schema.contains(keyword)) refuse_pair(first, keyword);
    }
    for (const std::string_view keyword : kConstraints) {
      if (schema.contains(keyword)) refuse_pair(first, keyword);
    }
    const auto type = schema.find("type");
    if (type == schema.end()) return;
    if (first == "$ref") refuse_pair(first, "type");
    Json& options = schema[std::string(first)];
    if (first == "const") {
      if (!has_type(options, *type)) refuse("`const` is not of the `type` beside it");
    } else if (first == "enum") {
      const bool all =
          options.is_array() && std::all_of(options.begin(), options.end(),
                                            [&](const Json& value) { return has_type(value, *type); });
      if (!all) refuse("a value of `enum` is not of the `type` beside it");
    } else if (options.is_array()) {
      for (Json& option : options) add_type(option, *type);
    }
  }

  [[noreturn]] static void refuse_pair(std::string_view first, std::string_view other) {
    refuse(quoted(other) + " beside " + quoted(first) + " is not supported");
  }

  static void add_type(Json& option, const Json& type) {
    if (!option.is_object() || option.contains("type") || first_of(option, kFirst) != nullptr) return;
    option["type"] = type;
  }

  static bool has_type(const Json& value, const Json& type) {
    if (type.is_array())
      return std::any_of(type.begin(), type.end(), [&](const Json& one) { return has_type(value, one); });
    if (type == "string") return value.is_string();
    if (type == "integer") return value.is_number_integer();
    if (type == "number") return value.is_number();
    if (type == "boolean") return value.is_boolean();
    if (type == "null") return value.is_null();
    if (type == "array") return value.is_array();
    return type == "object" && value.is_object();
  }

  // XGrammar cannot see to a property that no schema is given for.
  static void check_required(const Json& schema) {
    const auto required = schema.find("required");
    if (required == schema.end() || !required->is_array()) return;
    const auto properties = schema.find("properties");
    for (const Json& name : *required) {
      if (!name.is_string()) refuse("`required` must be a list of strings");
      if (properties == schema.end() || !properties->is_object() ||
          !properties->contains(name.get_ref<const std::string&>())) {
        refuse("`required` names " + name.dump().substr(0, 100) + ", which `properties` lacks");
      }
    }
  }

  void check_parts(Json& schema, int depth) {
    for (const char* keyword : {"properties", "patternProperties", "$defs", "definitions"}) {
      if (const auto parts = schema.find(keyword); parts != schema.end() && parts->is_object()) {
        for (auto& [name, part] : parts->items()) check(part, depth + 1);
      }
    }
    for (const char* keyword : {"anyOf", "oneOf", "allOf", "prefixItems"}) {
      if (const auto parts = schema.find(keyword); parts != schema.end() && parts->is_array()) {
        for (Json& part : *parts) check(part, depth + 1);
      }
    }
    for (const char* keyword :
         {"items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems"}) {
      if (const auto part = schema.find(keyword); part != schema.end()) check(*part, depth + 1);
    }
  }
};

}  // namespace

std::string checked_schema(const std::string& text) {
  Json schema = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (schema.is_discarded()) refuse("is not valid JSON");
  Checker().check(schema, 0);
  return schema.dump();
}

}  // namespace outrider::grammar

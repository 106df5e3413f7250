#include "server/structured_outputs.h"

#include <algorithm>

#include "base/error.h"
#include "base/python_repr.h"

namespace outrider::server {
namespace {

using Kind = sampling::GrammarSpec::Kind;
using sampling::GrammarSpec;

constexpr const char* kAnyObject = R"({"type":"object"})";
constexpr size_t kMaxChoices = 4096;

[[noreturn]] void refuse(const std::string& field, const std::string& what) {
  throw RequestError("`" + field + "` " + what + ".");
}

// Collects what is asked for; more than one is an error.
class Wanted {
 public:
  explicit Wanted(bool any_whitespace) : any_whitespace_(any_whitespace) {}

  void add(Kind kind, std::string text, const std::string& field) {
    if (spec_) {
      throw RequestError("You can only use one kind of structured outputs constraint: `" + spec_->field +
                         "` and `" + field + "` are both set.");
    }
    spec_ = GrammarSpec{kind, std::move(text), field};
  }

  void add_string(Kind kind, const Json& value, const std::string& field) {
    if (value.is_null()) return;
    if (!value.is_string()) refuse(field, "must be a string");
    if (value.get_ref<const std::string&>().empty()) refuse(field, "cannot be empty");
    add(kind, value.get<std::string>(), field);
  }

  // A schema, or its JSON text.
  void add_json(const Json& value, const std::string& field) {
    if (value.is_null()) return;
    if (value.is_string()) return add(Kind::kJsonSchema, value.get<std::string>(), field);
    if (!value.is_object() && !value.is_boolean())
      refuse(field, "must be a JSON schema: an object, or its text");
    add(Kind::kJsonSchema, value.dump(), field);
  }

  void add_choice(const Json& value, const std::string& field) {
    if (value.is_null()) return;
    const bool strings =
        value.is_array() && !value.empty() && value.size() <= kMaxChoices &&
        std::all_of(value.begin(), value.end(), [](const Json& one) { return one.is_string(); });
    if (!strings) refuse(field, "must be a list of 1 to " + std::to_string(kMaxChoices) + " strings");
    add(Kind::kChoice, value.dump(), field);
  }

  void disable_any_whitespace() { any_whitespace_ = false; }

  std::optional<GrammarSpec> take() {
    if (spec_) spec_->any_whitespace = any_whitespace_;
    return std::move(spec_);
  }

 private:
  std::optional<GrammarSpec> spec_;
  bool any_whitespace_;
};

const Json& member(const Json& object, const char* name) {
  static const Json null;
  const auto found = object.find(name);
  return found == object.end() ? null : *found;
}

// The older form has {"structures": [{"begin", "schema", "end"}], "triggers": [...]}.
std::string structural_tag(const Json& given, const std::string& field) {
  if (!given.is_object()) refuse(field, "must be an object");
  if (!member(given, "format").is_null()) return given.dump();
  const Json& structures = member(given, "structures");
  const Json& triggers = member(given, "triggers");
  if (!structures.is_array() || !triggers.is_array())
    refuse(field, "needs `format`, or `structures` and `triggers`");
  Json tags = Json::array();
  for (const Json& structure : structures) {
    if (!structure.is_object()) refuse(field, "has a structure that is no object");
    Json schema = member(structure, "schema");
    if (schema.is_null()) schema = Json::object();
    tags.push_back({{"begin", member(structure, "begin")},
                    {"content", {{"type", "json_schema"}, {"json_schema", std::move(schema)}}},
                    {"end", member(structure, "end")}});
  }
  const Json format = {{"type", "triggered_tags"}, {"triggers", triggers}, {"tags", std::move(tags)}};
  return Json{{"type", "structural_tag"}, {"format", format}}.dump();
}

// Text or object.
void add_structural_tag(const Json& value, const std::string& field, Wanted& wanted) {
  if (value.is_null()) return;
  if (!value.is_string()) return wanted.add(Kind::kStructuralTag, structural_tag(value, field), field);
  const Json parsed = Json::parse(value.get_ref<const std::string&>(), nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) refuse(field, "is not valid JSON");
  wanted.add(Kind::kStructuralTag, structural_tag(parsed, field), field);
}

void read_response_format(const Json& format, Wanted& wanted) {
  if (!format.is_object()) return;
  const Json& type = member(format, "type");
  if (type == "text") return;
  if (type == "json_object") return wanted.add(Kind::kJsonSchema, kAnyObject, "response_format");
  if (type == "structural_tag") return add_structural_tag(format, "response_format", wanted);
  if (type != "json_schema") {
    throw RequestError("`response_format` of type " + python_repr(type, 100) +
                       " is not supported; use text, json_object, json_schema or structural_tag.");
  }
  const Json& described = member(format, "json_schema");
  const Json& schema = described.is_object() ? member(described, "schema") : described;
  if (schema.is_null()) refuse("response_format", "of type 'json_schema' needs `json_schema.schema`");
  wanted.add_json(schema, "response_format");
}

bool is_true(const Json& value, const std::string& field) {
  if (value.is_null()) return false;
  if (!value.is_boolean()) refuse(field, "must be true or false");
  return value.get<bool>();
}

void read_structured_outputs(const Json& given, Wanted& wanted) {
  if (!given.is_object()) return;
  for (const auto& [key, value] : given.items()) {
    const std::string field = "structured_outputs." + key.substr(0, 100);
    if (key == "json") {
      wanted.add_json(value, field);
    } else if (key == "regex") {
      wanted.add_string(Kind::kRegex, value, field);
    } else if (key == "choice") {
      wanted.add_choice(value, field);
    } else if (key == "grammar") {
      wanted.add_string(Kind::kEbnf, value, field);
    } else if (key == "json_object") {
      if (is_true(value, field)) wanted.add(Kind::kJsonSchema, kAnyObject, field);
    } else if (key == "structural_tag") {
      add_structural_tag(value, field, wanted);
    } else if (key == "disable_any_whitespace") {
      if (is_true(value, field)) wanted.disable_any_whitespace();
    } else if (key == "disable_fallback" || key == "disable_additional_properties") {
      is_true(value, field);  // both are so anyhow: one engine, and only the properties that a schema admits
    } else if (!value.is_null()) {
      refuse(field, "is not supported");
    }
  }
}

void read_common(const GenerationFields& fields, Wanted& wanted) {
  if (!fields.guided_decoding_backend.is_null()) {
    throw RequestError("Request-level structured output backend selection is no longer supported.");
  }
  if (!fields.guided_whitespace_pattern.is_null()) {
    refuse("guided_whitespace_pattern", "is not supported; white space is free, see disable_any_whitespace");
  }
  read_response_format(fields.response_format, wanted);
  wanted.add_json(fields.guided_json, "guided_json");
  wanted.add_string(Kind::kRegex, fields.guided_regex, "guided_regex");
  wanted.add_choice(fields.guided_choice, "guided_choice");
  wanted.add_string(Kind::kEbnf, fields.guided_grammar, "guided_grammar");
  read_structured_outputs(fields.structured_outputs, wanted);
}

Json parameters_of(const Json& tool) {
  const Json& parameters = member(tool["function"], "parameters");
  if (parameters.is_object() && !parameters.empty()) return parameters;
  return {{"type", "object"}, {"properties", Json::object()}};
}

// References in a tool's schema start at its own root: what they name moves to the root of the whole.
void hoist_definitions(Json& parameters, Json& definitions) {
  const auto own = parameters.find("$defs");
  if (own == parameters.end() || !own->is_object()) return;
  for (const auto& [name, schema] : own->items()) {
    const auto known = definitions.find(name);
    if (known != definitions.end() && *known != schema) {
      refuse("tools", "have different schemas named " + python_repr(Json(name), 100) + " in their `$defs`");
    }
    definitions[name] = schema;
  }
  parameters.erase("$defs");
}

}  // namespace

std::optional<GrammarSpec> read_grammar(const GenerationFields& fields, const ServerOptions& options) {
  Wanted wanted(options.json_any_whitespace);
  read_common(fields, wanted);
  return wanted.take();
}

std::optional<GrammarSpec> read_chat_grammar(const ChatFields& fields, const ServerOptions& options) {
  Wanted wanted(options.json_any_whitespace);
  read_common(fields, wanted);
  add_structural_tag(fields.structural_tag, "structural_tag", wanted);
  return wanted.take();
}

GrammarSpec required_call_grammar(const Json& tools, bool one_call) {
  Json calls = Json::array(), definitions = Json::object();
  for (const Json& tool : tools) {
    Json parameters = parameters_of(tool);
    hoist_definitions(parameters, definitions);
    calls.push_back({{"type", "object"},
                     {"properties",
                      {{"name", {{"type", "string"}, {"enum", Json::array({tool["function"]["name"]})}}},
                       {"parameters", std::move(parameters)}}},
                     {"required", Json::array({"name", "parameters"})}});
  }
  Json schema = {{"type", "array"}, {"minItems", 1}, {"items", {{"anyOf", std::move(calls)}}}};
  if (one_call) schema["maxItems"] = 1;
  if (!definitions.empty()) schema["$defs"] = std::move(definitions);
  return {Kind::kJsonSchema, schema.dump(), "tools", /*any_whitespace=*/false};
}

GrammarSpec named_call_grammar(const Json& tools, const std::string& name) {
  const auto tool = std::find_if(tools.begin(), tools.end(),
                                 [&](const Json& one) { return one["function"]["name"] == name; });
  return {Kind::kJsonSchema, parameters_of(*tool).dump(), "tools", /*any_whitespace=*/false};
}

}  // namespace outrider::server

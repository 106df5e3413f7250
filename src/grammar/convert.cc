#include "grammar/convert.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace outrider::grammar {
namespace {

using Json = nlohmann::ordered_json;
using Kind = sampling::GrammarSpec::Kind;

// Spaces and line breaks in a row, in JSON: enough for deep indentation, and no reply can go on with nothing
// else.
constexpr int kMaxWhitespace = 32;

xgrammar::Grammar from_choices(const std::string& text) {
  std::string ebnf = "root ::= ";
  const char* separator = "";
  for (const Json& choice : Json::parse(text)) {
    ebnf += separator;
    ebnf += choice.dump();  // its escapes are EBNF's
    separator = " | ";
  }
  return xgrammar::Grammar::FromEBNF(ebnf);
}

xgrammar::Grammar from_structural_tag(const std::string& text) {
  auto result = xgrammar::Grammar::FromStructuralTag(text);
  if (auto* grammar = std::get_if<xgrammar::Grammar>(&result)) return *grammar;
  std::visit([](const auto& error) { throw std::runtime_error(error.what()); },
             std::get<xgrammar::StructuralTagError>(result));
  throw std::logic_error("not reached");
}

bool is_ebnf(const std::string& text) { return text.find("::=") != std::string::npos; }

}  // namespace

xgrammar::Grammar convert(const sampling::GrammarSpec& spec) {
  switch (spec.kind) {
    case Kind::kJsonSchema:
      return xgrammar::Grammar::FromJSONSchema(
          checked_schema(spec.text), spec.any_whitespace, std::nullopt, std::nullopt, /*strict_mode=*/true,
          spec.any_whitespace ? std::optional<int>(kMaxWhitespace) : std::nullopt);
    case Kind::kChoice:
      return from_choices(spec.text);
    case Kind::kRegex:
      return xgrammar::Grammar::FromRegex(spec.text);
    case Kind::kEbnf:
      return is_ebnf(spec.text) ? xgrammar::Grammar::FromEBNF(spec.text)
                                : xgrammar::Grammar::FromLark(spec.text);
    case Kind::kStructuralTag:
      return from_structural_tag(spec.text);
  }
  throw std::logic_error("not reached");
}

}  // namespace outrider::grammar

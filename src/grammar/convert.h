// From a request's words to XGrammar's syntax tree.
#pragma once

#include <xgrammar/grammar.h>

#include "sampling/grammar.h"

namespace outrider::grammar {

// Throws std::runtime_error with a line about the text.
xgrammar::Grammar convert(const sampling::GrammarSpec& spec);

// The same schema in a form that XGrammar follows in full. Throws std::runtime_error naming the keyword where
// there is none: XGrammar itself passes over what it does not know.
std::string checked_schema(const std::string& text);

}  // namespace outrider::grammar

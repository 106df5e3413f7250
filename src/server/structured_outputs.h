// What a request wants its output to match: response_format, guided_*, structured_outputs, tool_choice.
#pragma once

#include <optional>

#include "sampling/grammar.h"
#include "server/options.h"
#include "server/request_fields.h"

namespace outrider::server {

// Nothing: any text. Throws RequestError naming the field.
std::optional<sampling::GrammarSpec> read_grammar(const GenerationFields& fields,
                                                  const ServerOptions& options);
std::optional<sampling::GrammarSpec> read_chat_grammar(const ChatFields& fields,
                                                       const ServerOptions& options);

// Of a tool_choice "required": a list of {"name": ..., "parameters": {...}}; of one that names a function:
// its arguments. Without free white space: nobody reads it, and a small model can fill a reply with it.
sampling::GrammarSpec required_call_grammar(const Json& tools, bool one_call);
sampling::GrammarSpec named_call_grammar(const Json& tools, const std::string& name);

}  // namespace outrider::server

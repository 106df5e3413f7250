// From the text of a value to the value, by the option's kind; and back.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/option.h"

namespace outrider::config {

// Null where the text means unset ("None", "", and "auto" or -1 for --max-model-len) and the option may be
// unset. Throws UsageError: `argument --NAME: ...`.
Json parse_value(const Option& option, const std::vector<std::string>& words);

// A JSON text of bounded depth, or nothing.
std::optional<Json> parse_json(std::string_view text);

Json default_value(const Option& option);
Json get_field(const Option& option, const ServeOptions& options);
// `value` has come from parse_value.
void set_field(const Option& option, const Json& value, ServeOptions& options);

// --x or --no-x, without a value.
bool is_switch(const Option& option);

// What to tell the user of a value without effect; empty when there is nothing to tell. Throws UsageError for
// a value that must not be ignored.
std::string effect_warning(const Option& option, const Json& value);

std::string to_text(const Json& value);  // JSON; invalid UTF-8 replaced

// The error for a value of this option.
[[noreturn]] void refuse_value(const Option& option, const std::string& reason);

}  // namespace outrider::config

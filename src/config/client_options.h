// What `outrider chat` and `outrider complete` can be told.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/help_request.h"
#include "config/serve_options.h"

namespace outrider::config {

struct ClientOptions : HelpRequest {
  bool chat = false;  // else completions
  std::string url, model_name, api_key, system_prompt;
  std::optional<std::string> quick;
};

const OptionTable& client_table(bool chat);

// `arguments`: what follows `outrider chat` or `outrider complete`. Throws UsageError.
ClientOptions parse_client(bool chat, const std::vector<std::string>& arguments,
                           const Environment& environment);

}  // namespace outrider::config

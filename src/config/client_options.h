// What `outrider chat` and `outrider complete` can be told.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/arguments.h"

namespace outrider::config {

struct ClientOptions {
  bool chat = false;  // else completions
  std::string url, model_name, api_key, system_prompt;
  std::optional<std::string> quick;
  std::optional<std::string> help;  // the topic
  bool version = false;
};

// `arguments`: what follows `outrider chat` or `outrider complete`. Throws UsageError.
ClientOptions parse_client(bool chat, const std::vector<std::string>& arguments,
                           const Environment& environment);

std::string client_help(bool chat, const std::string& topic);

}  // namespace outrider::config

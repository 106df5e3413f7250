// What the environment says about the hub. The variables are huggingface_hub's.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "net/url.h"

namespace outrider::hub {

using Environment = std::map<std::string, std::string>;

// Where models--org--name lie: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub.
std::filesystem::path cache_folder(const Environment& environment);

// HF_HUB_OFFLINE.
bool is_offline(const Environment& environment);

// What asking the hub takes.
struct Settings {
  net::Url endpoint;    // its target is a prefix without a slash at the end, or "/"
  std::string token;    // empty: none
  double timeout = 10;  // seconds without a byte before something is tried again
  int connections = 8;
  net::Proxies proxies;
};

// Reads HF_TOKEN, HF_TOKEN_PATH or HF_HOME/token, HF_ENDPOINT, HF_HUB_DOWNLOAD_TIMEOUT and *_PROXY. Throws
// UsageError naming the variable.
Settings read_settings(const Environment& environment);

// Without blanks around it. Throws UsageError, which does not show it, where it cannot stand in a header.
// `source` names where it is from.
std::string checked_token(const std::string& token, const std::string& source);

}  // namespace outrider::hub

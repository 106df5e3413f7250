// From a model's id on the Hugging Face hub to a folder with its files.
#pragma once

#include <filesystem>
#include <string>

#include "hub/cache.h"
#include "hub/settings.h"

namespace outrider::hub {

struct Request {
  std::string id;
  std::string revision;  // empty: main
  Need need;
};

// How the hub may be used.
struct Access {
  Environment environment;
  std::string download_dir;  // the cache; empty: the environment's
  std::string token;         // empty: the environment's
  int connections = 8;
};

enum class Policy {
  kCacheOnly,
  kCacheFirst,  // asks the hub for what the cache does not have whole
  kRefresh,     // asks the hub whether the branch has moved on
};

// The folder of a snapshot that has what is needed. Throws StartupError: one line with the remedy.
std::filesystem::path fetch(const Request& request, const Access& access, Policy policy);

}  // namespace outrider::hub

#include "hub/settings.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <initializer_list>
#include <string_view>

#include "base/error.h"
#include "base/text.h"

namespace outrider::hub {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTokenBytes = 4096;

// The first of `names` that is set to something.
std::string first_of(const Environment& environment, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto it = environment.find(name);
    if (it != environment.end() && !it->second.empty()) return it->second;
  }
  return {};
}

bool is_true(std::string_view text) {
  constexpr std::string_view kWords[] = {"1", "on", "yes", "true"};
  return std::ranges::any_of(kWords, [&](std::string_view word) { return equals_ignoring_case(text, word); });
}

fs::path expand_home(const std::string& text, const Environment& environment) {
  if (text != "~" && !text.starts_with("~/")) return text;
  return fs::path(first_of(environment, {"HOME"})) / text.substr(std::min(text.size(), size_t{2}));
}

fs::path home_folder(const Environment& environment) {
  if (const std::string home = first_of(environment, {"HF_HOME"}); !home.empty()) {
    return expand_home(home, environment);
  }
  const std::string cache = first_of(environment, {"XDG_CACHE_HOME"});
  const fs::path above =
      cache.empty() ? expand_home("~/.cache", environment) : expand_home(cache, environment);
  return above / "huggingface";
}

std::optional<net::Url> read_proxy(const Environment& environment, std::initializer_list<const char*> names) {
  std::string text = first_of(environment, names);
  if (text.empty()) return std::nullopt;
  if (text.find("://") == std::string::npos) text.insert(0, "http://");
  std::optional<net::Url> url = net::parse_url(text);
  // The address may hold a password: it is not shown.
  if (!url || url->tls) {
    throw UsageError(std::string(*names.begin()) +
                     ": expected http://HOST:PORT, the only kind of proxy there is");
  }
  return url;
}

std::string read_token(const Environment& environment, const fs::path& home) {
  const std::string direct = first_of(environment, {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"});
  if (!direct.empty()) return checked_token(direct, "HF_TOKEN");
  const std::string named = first_of(environment, {"HF_TOKEN_PATH"});
  const fs::path path = named.empty() ? home / "token" : expand_home(named, environment);
  std::ifstream file(path);
  std::string text(kMaxTokenBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return checked_token(text, path.string());
}

double read_timeout(const Environment& environment) {
  const std::string text = first_of(environment, {"HF_HUB_DOWNLOAD_TIMEOUT"});
  double seconds = Settings().timeout;
  if (text.empty()) return seconds;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || !(seconds >= 0.1 && seconds <= 3600)) {
    throw UsageError("HF_HUB_DOWNLOAD_TIMEOUT=" + text + ": expected seconds, from 0.1 to 3600");
  }
  return seconds;
}

}  // namespace

std::string checked_token(const std::string& token, const std::string& source) {
  std::string word(trim(token));
  const bool is_clean =
      std::all_of(word.begin(), word.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (!is_clean || word.size() > kMaxTokenBytes)
    throw UsageError(source + " holds no access token of the hub");
  return word;
}

fs::path cache_folder(const Environment& environment) {
  const std::string named = first_of(environment, {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  return named.empty() ? home_folder(environment) / "hub" : expand_home(named, environment);
}

bool is_offline(const Environment& environment) {
  return is_true(first_of(environment, {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}));
}

Settings read_settings(const Environment& environment) {
  Settings settings;
  settings.token = read_token(environment, home_folder(environment));

  std::string endpoint = first_of(environment, {"HF_ENDPOINT"});
  if (endpoint.empty()) endpoint = "https://huggingface.co";
  const std::optional<net::Url> url = net::parse_url(endpoint);
  if (!url || !url->user_info.empty() || url->target.find('?') != std::string::npos) {
    throw UsageError("HF_ENDPOINT=" + endpoint + ": expected http://HOST or https://HOST");
  }
  settings.endpoint = *url;
  std::string& prefix = settings.endpoint.target;
  while (prefix.size() > 1 && prefix.back() == '/') prefix.pop_back();

  settings.timeout = read_timeout(environment);
  settings.proxies.http = read_proxy(environment, {"HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"});
  settings.proxies.https = read_proxy(environment, {"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"});
  settings.proxies.exceptions = first_of(environment, {"NO_PROXY", "no_proxy"});
  return settings;
}

}  // namespace outrider::hub

#include "net/url.h"

#include <algorithm>
#include <cctype>

#include "base/text.h"

namespace outrider::net {
namespace {

// Signed addresses of CDNs take about 2 kB.
constexpr size_t kMaxUrlBytes = 16 << 10;

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char letter = lower_case(c);
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

std::string percent_decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool is_port(std::string_view text) {
  const auto is_digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  return !text.empty() && text.size() <= 5 && std::all_of(text.begin(), text.end(), is_digit);
}

bool is_host(std::string_view text, bool bracketed) {
  const auto fits = [bracketed](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_' || (bracketed && c == ':');
  };
  return !text.empty() && text.size() <= 253 && std::all_of(text.begin(), text.end(), fits);
}

// Host and port; false where they are none.
bool read_authority(std::string_view text, Url& url) {
  const bool bracketed = !text.empty() && text.front() == '[';
  size_t end = bracketed ? text.find(']') : text.find(':');
  if (bracketed && end == std::string_view::npos) return false;
  end = std::min(end, text.size());
  url.host = lower_case(bracketed ? text.substr(1, end - 1) : text.substr(0, end));
  std::string_view rest = text.substr(bracketed ? end + 1 : end);
  url.port = url.tls ? "443" : "80";
  if (!rest.empty()) {
    if (rest.front() != ':' || !is_port(rest.substr(1))) return false;
    url.port = rest.substr(1);
  }
  return is_host(url.host, bracketed);
}

}  // namespace

std::string Url::host_and_port() const {
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + port;
}

std::string Url::authority() const {
  const std::string whole = host_and_port();
  return port == (tls ? "443" : "80") ? whole.substr(0, whole.size() - port.size() - 1) : whole;
}

std::string Url::text() const { return (tls ? "https://" : "http://") + authority() + target; }

std::optional<Url> parse_url(std::string_view text) {
  const auto is_clean = [](unsigned char c) { return c > 0x20 && c < 0x7f; };
  if (text.size() > kMaxUrlBytes || !std::all_of(text.begin(), text.end(), is_clean)) return std::nullopt;
  Url url;
  const size_t colon = text.find("://");
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string scheme = lower_case(text.substr(0, colon));
  if (scheme != "http" && scheme != "https") return std::nullopt;
  url.tls = scheme == "https";
  std::string_view rest = text.substr(scheme.size() + 3);
  rest = rest.substr(0, rest.find('#'));
  const size_t end = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view authority = rest.substr(0, end);
  url.target = rest.substr(end);
  if (url.target.empty() || url.target.front() == '?') url.target.insert(0, 1, '/');
  if (const size_t at = authority.rfind('@'); at != std::string_view::npos) {
    url.user_info = percent_decode(authority.substr(0, at));
    authority.remove_prefix(at + 1);
  }
  if (!read_authority(authority, url)) return std::nullopt;
  return url;
}

std::optional<Url> resolve_location(const Url& base, std::string_view location) {
  std::string whole;
  if (location.starts_with("//")) {
    whole = (base.tls ? "https:" : "http:") + std::string(location);
  } else if (location.find("://") < location.find_first_of("/?#")) {
    whole = location;
  } else {
    Url here = base;
    if (location.starts_with("/")) {
      here.target.clear();
    } else {
      here.target = here.target.substr(0, here.target.find_first_of("?"));
      here.target = here.target.substr(0, here.target.rfind('/') + 1);
    }
    whole = here.text() + std::string(location);
  }
  std::optional<Url> url = parse_url(whole);
  if (!url || (base.tls && !url->tls)) return std::nullopt;
  url->user_info.clear();
  return url;
}

bool same_origin(const Url& a, const Url& b) {
  return a.tls == b.tls && a.host == b.host && a.port == b.port;
}

std::string encode_segment(std::string_view text) {
  return percent_encode(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && std::isalnum(byte) != 0) return true;
    return c == '-' || c == '_' || c == '.' || c == '~';
  });
}

const Url* proxy_for(const Proxies& proxies, const Url& url) {
  const std::optional<Url>& proxy = url.tls ? proxies.https : proxies.http;
  if (!proxy) return nullptr;
  std::string_view rest = proxies.exceptions;
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    std::string entry = lower_case(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    std::erase_if(entry, [](unsigned char c) { return std::isspace(c) != 0; });
    if (entry == "*") return nullptr;
    const size_t colon = entry.rfind(':');
    if (colon != std::string::npos && entry.find(':') == colon) {
      if (entry.substr(colon + 1) != url.port) continue;
      entry.resize(colon);
    }
    entry.erase(0, entry.find_first_not_of("*."));
    if (entry.empty()) continue;
    if (url.host == entry || url.host.ends_with("." + entry)) return nullptr;
  }
  return &*proxy;
}

}  // namespace outrider::net

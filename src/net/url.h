// Addresses of servers, of what they redirect to and of proxies.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace outrider::net {

struct Url {
  bool tls = false;
  std::string host;  // lower case, without the brackets of an IPv6 address
  std::string port;
  std::string target;     // path and query, "/..." and never empty
  std::string user_info;  // "name:password", decoded; only proxies may have one

  std::string host_and_port() const;  // "[::1]:8000"
  std::string authority() const;      // with the port unless it is the scheme's own
  std::string text() const;           // without user_info
};

// Empty for anything but http:// and https:// with a host, and for text that could break a request's lines.
std::optional<Url> parse_url(std::string_view text);

// Where a Location header seen at `base` leads. Empty for no address and for a step from https to http.
std::optional<Url> resolve_location(const Url& base, std::string_view location);

// A secret meant for one may be sent to the other.
bool same_origin(const Url& a, const Url& b);

// Percent-encodes all but unreserved characters: a path's text between two slashes.
std::string encode_segment(std::string_view text);

// HTTP_PROXY, HTTPS_PROXY, NO_PROXY.
struct Proxies {
  std::optional<Url> http, https;
  std::string exceptions;  // "localhost,.example.org,10.1.2.3:8080" or "*"
};

// Null: straight to `url`.
const Url* proxy_for(const Proxies& proxies, const Url& url);

}  // namespace outrider::net

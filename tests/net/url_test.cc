#include "net/url.h"

#include <gtest/gtest.h>

namespace outrider::net {
namespace {

TEST(Url, IsTakenApart) {
  const auto url = parse_url("HTTPS://Hub.Example:8443/a/b?c=d#e");
  ASSERT_TRUE(url);
  EXPECT_TRUE(url->tls);
  EXPECT_EQ(url->host, "hub.example");
  EXPECT_EQ(url->port, "8443");
  EXPECT_EQ(url->target, "/a/b?c=d");
  EXPECT_EQ(url->text(), "https://hub.example:8443/a/b?c=d");
  EXPECT_EQ(parse_url("http://[::1]")->text(), "http://[::1]/");
  EXPECT_EQ(parse_url("http://x?q=1")->target, "/?q=1");
  EXPECT_EQ(parse_url("http://me:p%40ss@proxy:3128")->user_info, "me:p@ss");
  EXPECT_EQ(parse_url("http://me:p%40ss@proxy:3128")->text(), "http://proxy:3128/");
}

TEST(Url, WhatCouldBreakARequestIsNone) {
  for (const char* text : {"", "http", "http://", "http:///x", "ftp://x", "http://x:", "http://x:99x",
                           "http://a b/", "http://x/\r\nHost: y", "http://x/\x7f", "http://[::1",
                           "http://x:123456", "http://a/\xc3\xa9", "http://a\"b/"}) {
    EXPECT_FALSE(parse_url(text)) << text;
  }
  EXPECT_FALSE(parse_url("http://x/" + std::string(20'000, 'a')));
}

TEST(Url, ALocationIsReadFromWhereItStood) {
  const Url base = *parse_url("https://hub.example/org/model/resolve/main/f?x=1");
  EXPECT_EQ(resolve_location(base, "https://cdn.example/k?s=1")->text(), "https://cdn.example/k?s=1");
  EXPECT_EQ(resolve_location(base, "//cdn.example/k")->text(), "https://cdn.example/k");
  EXPECT_EQ(resolve_location(base, "/other/f")->text(), "https://hub.example/other/f");
  EXPECT_EQ(resolve_location(base, "g?u=https://z/")->text(),
            "https://hub.example/org/model/resolve/main/g?u=https://z/");
  EXPECT_FALSE(resolve_location(base, "http://hub.example/f")) << "a step down to plain text";
  EXPECT_FALSE(resolve_location(base, "file:///etc/passwd"));
  EXPECT_TRUE(resolve_location(*parse_url("http://a/"), "https://b/")->tls);
  EXPECT_EQ(resolve_location(base, "https://me:pw@cdn.example/")->user_info, "");
}

TEST(Url, AnOriginIsSchemeHostAndPort) {
  const Url url = *parse_url("https://a.example/x");
  EXPECT_TRUE(same_origin(url, *parse_url("https://A.example:443/y")));
  for (const char* other :
       {"http://a.example:443/", "https://a.example:444/", "https://b.example/", "https://a.example.evil/"}) {
    EXPECT_FALSE(same_origin(url, *parse_url(other))) << other;
  }
}

TEST(Url, ASegmentOfAPathIsEncodedWithItsSlashes) {
  EXPECT_EQ(encode_segment("refs/pr/1"), "refs%2Fpr%2F1");
  EXPECT_EQ(encode_segment("a b/c?d#e%\xc3\xa9"), "a%20b%2Fc%3Fd%23e%25%C3%A9");
}

TEST(Proxy, ExceptionsAreHostsSuffixesAndPorts) {
  Proxies proxies{parse_url("http://p:1"), parse_url("http://q:2"),
                  " Example.org , .corp,*.wild,10.0.0.1:8080"};
  const auto host_of = [&](const char* url) {
    const Url* proxy = proxy_for(proxies, *parse_url(url));
    return proxy == nullptr ? "" : proxy->host;
  };
  EXPECT_EQ(host_of("http://x/"), "p");
  EXPECT_EQ(host_of("https://x/"), "q");
  for (const char* url : {"https://example.org/", "https://sub.example.org/", "http://a.corp/",
                          "http://a.wild/", "http://10.0.0.1:8080/"}) {
    EXPECT_EQ(host_of(url), "") << url;
  }
  for (const char* url : {"https://notexample.org/", "https://example.org.evil/", "http://10.0.0.1/"}) {
    EXPECT_NE(host_of(url), "") << url;
  }
  proxies.exceptions = "a,*";
  EXPECT_EQ(host_of("https://x/"), "");
  EXPECT_EQ(proxy_for({}, *parse_url("http://x/")), nullptr);
}

}  // namespace
}  // namespace outrider::net

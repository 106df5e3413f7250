// The web page's files, as they lie beside this one, embedded in the program (cmake/WebPage.cmake).
#pragma once

#include <span>
#include <string_view>

namespace outrider::web {

struct Asset {
  std::string_view name;  // "index.html"
  std::string_view body;
};

std::span<const Asset> assets();

// Null when there is none of that name.
const Asset* find_asset(std::string_view name);

// By the ending of its name.
std::string_view content_type(const Asset& asset);

}  // namespace outrider::web

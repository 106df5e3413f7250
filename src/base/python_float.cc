#include "base/python_float.h"

#include <charconv>
#include <cmath>
#include <iterator>
#include <string_view>

namespace outrider {

void append_python_float(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
    return;
  }
  if (std::isinf(value)) {
    out += value > 0 ? "Infinity" : "-Infinity";
    return;
  }
  const double magnitude = std::fabs(value);
  const bool exponent = magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16);
  const auto format = exponent ? std::chars_format::scientific : std::chars_format::fixed;
  char text[40];
  const std::string_view digits(text,
                                std::to_chars(std::begin(text), std::end(text), value, format).ptr - text);
  out += digits;
  if (!exponent && digits.find('.') == std::string_view::npos) out += ".0";
}

std::string python_float(double value) {
  std::string out;
  append_python_float(out, value);
  return out;
}

}  // namespace outrider

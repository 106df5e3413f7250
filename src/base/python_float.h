// Python's spelling of floating-point numbers.
#pragma once

#include <string>

namespace outrider {

// repr(value): the shortest digits that read back as `value`, exponents below -4 and from 16 on: 1.0, 1e-05,
// 0.1. Infinities and NaN are spelled as Python's json does.
void append_python_float(std::string& out, double value);
std::string python_float(double value);

}  // namespace outrider

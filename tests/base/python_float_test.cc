#include "base/python_float.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

TEST(PythonFloat, IsSpelledAsPythonSpellsIt) {
  EXPECT_EQ(python_float(1.0), "1.0");
  EXPECT_EQ(python_float(-0.0), "-0.0");
  EXPECT_EQ(python_float(0.1), "0.1");
  EXPECT_EQ(python_float(0.0001), "0.0001");
  EXPECT_EQ(python_float(0.00001), "1e-05");
  EXPECT_EQ(python_float(1e15), "1000000000000000.0");
  EXPECT_EQ(python_float(1e16), "1e+16");
  EXPECT_EQ(python_float(1e-300), "1e-300");
  EXPECT_EQ(python_float(double{-1.2345678f}), "-1.2345677614212036");
  EXPECT_EQ(python_float(123456789.125), "123456789.125");
}

}  // namespace
}  // namespace outrider

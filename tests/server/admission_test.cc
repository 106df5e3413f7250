#include "server/admission.h"

#include <gtest/gtest.h>

namespace outrider::server {
namespace {

TEST(Admission, LetsInAsMuchAsTheLimitsSay) {
  Admission admission;
  admission.set_limits(2, 10);
  EXPECT_TRUE(admission.enter(1, 4));
  EXPECT_TRUE(admission.enter(1, 6));
  EXPECT_FALSE(admission.enter(1, 0));
  admission.leave(1, 4);
  EXPECT_FALSE(admission.enter(1, 5));
  EXPECT_TRUE(admission.enter(1, 4));
}

TEST(Admission, LetsWhatIsLargerThanALimitInWhenNobodyElseIsThere) {
  Admission admission;
  admission.set_limits(2, 10);
  EXPECT_TRUE(admission.enter(3, 50));
  EXPECT_FALSE(admission.enter(1, 1));
  admission.leave(3, 50);
  EXPECT_TRUE(admission.enter(1, 1));
}

TEST(Admission, HasNoLimitsUnlessGiven) {
  Admission admission;
  EXPECT_TRUE(admission.enter(1 << 20, 1 << 30));
  EXPECT_TRUE(admission.enter(1 << 20, 1 << 30));
}

}  // namespace
}  // namespace outrider::server

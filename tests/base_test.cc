// floor: ig_base
// Floor 0: numbers, memory, files and configuration. Rule: every case states its expectation independently of the code.
#include <gtest/gtest.h>

#include "runtime/base/rng.h"

TEST(Philox, KnownAnswers) {
  ig_philox4 a = ig_philox(0, 0, 0, 0, 0);
  EXPECT_EQ(a.v[0], 0x6627e8d5u);
}

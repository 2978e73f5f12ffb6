// A program beside this one: how long its end is waited for. What it says is tested with those who talk with one.
#include "base/companion_program.h"

#include <gtest/gtest.h>

#include <chrono>

namespace pajamas {
namespace {

TEST(CompanionProgram, OneThatDoesNotEndIsNotWaitedForLongerThanAsked) {
  CompanionProgram program;
  ASSERT_EQ(program.start({"sleep", "60"}, {}), 0);
  EXPECT_FALSE(program.wait_until(std::chrono::steady_clock::now() + std::chrono::milliseconds(20)));
  EXPECT_TRUE(program.is_running());
  program.stop();
  ASSERT_EQ(program.start({"true"}, {}), 0);
  EXPECT_EQ(program.wait_until(std::chrono::steady_clock::now() + std::chrono::seconds(20)), 0);
  EXPECT_FALSE(program.is_running());
}

}  // namespace
}  // namespace pajamas

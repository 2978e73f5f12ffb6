// The main of gpu_tests: the usual one of GoogleTest, and a last line that says how many tests were skipped for want of
// a GPU, so that a run that tested nothing cannot pass for one that did.
#include <gtest/gtest.h>

#include <cstdio>

#include "gpu/require_gpu.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const int result = RUN_ALL_TESTS();
  const testing::UnitTest& tests = *testing::UnitTest::GetInstance();
  if (tests.skipped_test_count() > 0 && !pajamas::test::why_no_gpu().empty()) {
    std::printf("%d of %d GPU tests were skipped: %s\n", tests.skipped_test_count(), tests.test_to_run_count(),
                pajamas::test::why_no_gpu().c_str());
  }
  return result;
}

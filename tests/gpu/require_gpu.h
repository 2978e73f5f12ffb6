// The device for tests, or the reason why there is none. A test that needs it begins with PAJAMAS_NEED_GPU().
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "targets/cuda/runtime/device_context.h"

namespace pajamas::test {

/// The first GPU, opened once; null where there is none.
std::shared_ptr<cuda::DeviceContext> gpu();
/// Why gpu() is null; empty when it is not.
std::string why_no_gpu();
/// PAJAMAS_REQUIRE names "gpu": then a missing one is a failure.
bool is_gpu_required();

}  // namespace pajamas::test

/// Skips the test where there is no GPU, or fails it where PAJAMAS_REQUIRE=gpu.
#define PAJAMAS_NEED_GPU()                                                         \
  do {                                                                             \
    if (pajamas::test::gpu() == nullptr) {                                         \
      if (pajamas::test::is_gpu_required()) FAIL() << pajamas::test::why_no_gpu(); \
      GTEST_SKIP() << pajamas::test::why_no_gpu();                                 \
    }                                                                              \
    pajamas::test::gpu()->make_current();                                          \
  } while (false)

// The main function of this test program: the TensorRT builder runs the program again as its child, so it must answer
// to that first. Everything else is as in GoogleTest's own main.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "targets/tensorrt/builder_process.h"

int main(int argc, char** argv) {
  if (const auto code = pajamas::run_builder_child(argc, argv)) return *code;
  ::testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}

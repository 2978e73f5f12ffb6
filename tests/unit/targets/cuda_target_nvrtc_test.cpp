// NVRTC as the cuda target opens it. It compiles without a GPU; where the library is missing the tests skip.
#include <gmock/gmock.h>

#include <thread>
#include <vector>

#include "pajamas/error.h"
#include "targets/cuda/runtime/nvrtc.h"

namespace pajamas::cuda {
namespace {

bool has_nvrtc() {
  try {
    nvrtc_version();
    return true;
  } catch (const Error&) {
    return false;
  }
}

constexpr const char* kSource =
    "#include <cuda_fp16.h>\nextern \"C\" __global__ void k(__half* y) { y[threadIdx.x] = __hadd(y[0], y[1]); }";

TEST(CudaTargetNvrtc, compiles_for_each_supported_chip) {
  if (!has_nvrtc()) GTEST_SKIP() << "NVRTC is not on this machine";
  for (const int sm : {80, 89, 90, 120}) {
    const auto cubin = compile_to_cubin(kSource, "k", sm);
    ASSERT_GT(cubin.size(), 64U);
    EXPECT_EQ(static_cast<char>(cubin[1]), 'E');  // An ELF file.
  }
}

TEST(CudaTargetNvrtc, gives_threads_that_ask_at_once_the_same_code) {
  if (!has_nvrtc()) GTEST_SKIP() << "NVRTC is not on this machine";
  std::vector<std::vector<std::byte>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&result] { result = compile_to_cubin(std::string(kSource) + "// at once", "k", 90); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, results.front());
}

TEST(CudaTargetNvrtc, gives_the_compilers_words_for_bad_code) {
  if (!has_nvrtc()) GTEST_SKIP() << "NVRTC is not on this machine";
  try {
    compile_to_cubin("extern \"C\" __global__ void k() { undefined_name = 1; }", "bad", 90);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), testing::HasSubstr("undefined_name"));
    EXPECT_EQ(error.where(), "bad");
  }
}

TEST(CudaTargetNvrtc, names_a_chip_that_it_does_not_know) {
  if (!has_nvrtc()) GTEST_SKIP() << "NVRTC is not on this machine";
  try {
    compile_to_cubin(kSource, "k", 37);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.message(), testing::HasSubstr("sm_37"));
  }
}

}  // namespace
}  // namespace pajamas::cuda

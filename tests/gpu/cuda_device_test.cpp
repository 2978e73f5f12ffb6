// The device context on a real GPU: properties, NVRTC, modules, memory.
#include <gmock/gmock.h>

#include <vector>

#include "gpu/require_gpu.h"
#include "targets/cuda/runtime/driver.h"

namespace pajamas::cuda {
namespace {

TEST(CudaDevice, says_what_it_is) {
  PAJAMAS_NEED_GPU();
  const DeviceInfo& info = test::gpu()->info();
  EXPECT_GE(info.sm, 80);
  EXPECT_GT(info.num_multiprocessors, 0);
  EXPECT_GT(info.memory_bytes, std::size_t{1} << 30);
  EXPECT_GT(info.l2_bytes, 0U);
  EXPECT_THAT(info.uuid, testing::StartsWith("GPU-"));
}

TEST(CudaDevice, refuses_a_device_that_is_not_there) {
  PAJAMAS_NEED_GPU();
  EXPECT_THROW(DeviceContext::open(1000), Error);
}

TEST(CudaDevice, runs_a_kernel_that_it_compiled) {
  PAJAMAS_NEED_GPU();
  const auto cubin = test::gpu()->compile_to_cubin(
      "#include <cuda_fp16.h>\n"
      "extern \"C\" __global__ void fill(float* y) { y[threadIdx.x] = __half2float(__float2half(threadIdx.x + 0.5f)); "
      "}",
      "fill");
  const CompiledKernel kernel = test::gpu()->load_kernel(cubin, "fill");
  const DeviceMemory memory(33 * sizeof(float));
  float* address = reinterpret_cast<float*>(memory.data());
  void* arguments[] = {&address};
  CUlaunchConfig config{};
  config.gridDimX = config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = 33;
  config.blockDimY = config.blockDimZ = 1;
  check(driver().launch_kernel_ex(&config, kernel.function, arguments, nullptr), "launching fill");
  std::vector<float> values(33, -1.0F);
  check(cudaMemcpy(values.data(), address, memory.size_bytes(), cudaMemcpyDeviceToHost), "copying back");
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], static_cast<float>(i) + 0.5F);
}

TEST(CudaDevice, says_why_a_kernel_does_not_compile) {
  PAJAMAS_NEED_GPU();
  try {
    test::gpu()->compile_to_cubin("this is no kernel", "broken");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInternal);
    EXPECT_THAT(error.message(), testing::HasSubstr("error"));
  }
}

TEST(CudaDevice, refuses_more_memory_than_there_is_in_bytes) {
  PAJAMAS_NEED_GPU();
  const std::size_t wanted = std::size_t{1} << 46;
  try {
    const DeviceMemory memory(wanted);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.message(), testing::HasSubstr(std::to_string(wanted)));
  }
}

}  // namespace
}  // namespace pajamas::cuda

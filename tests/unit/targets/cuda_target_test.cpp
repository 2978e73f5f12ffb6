// The cuda target on a machine without a GPU: what it says to builds and loads there. With a GPU these skip; the rest
// is tested by tests/gpu.
#include <gmock/gmock.h>

#include "pajamas/error.h"
#include "support/thrown_by.h"
#include "targets/cuda/runtime/device_context.h"
#include "targets/registry.h"

namespace pajamas {
namespace {

using test::thrown_by;
using testing::HasSubstr;
using testing::Not;

bool has_gpu() {
  try {
    cuda::DeviceContext::open();
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST(CudaTarget, refuses_a_build_without_a_gpu_and_says_what_to_do) {
  if (has_gpu()) GTEST_SKIP() << "there is a GPU";
  BuildPlan plan;
  plan.target = "cuda";
  const Error error = thrown_by([&] { find_target("cuda").resolve(plan); });
  EXPECT_EQ(error.kind(), ErrorKind::kDeviceMissing);
  EXPECT_THAT(error.message(), HasSubstr("built on the GPU that it will run on"));
  EXPECT_THAT(error.message(), HasSubstr("NVIDIA"));
  EXPECT_THAT(error.remedy(), HasSubstr("--target tensorrt"));
}

TEST(CudaTarget, refuses_a_load_without_a_gpu_before_it_opens_a_file) {
  if (has_gpu()) GTEST_SKIP() << "there is a GPU";
  LoadRequest request;
  request.part = "model";
  request.files = {{"model.cuda", "engine"}};
  bool is_opened = false;
  request.open = [&](const CompiledFile&) {
    is_opened = true;
    return nullptr;
  };
  const Error error = thrown_by([&] { find_target("cuda").load(request); });
  EXPECT_EQ(error.kind(), ErrorKind::kDeviceMissing);
  EXPECT_THAT(error.remedy(), Not(testing::IsEmpty()));
  EXPECT_FALSE(is_opened);
}

TEST(CudaTarget, refuses_to_be_exact_where_it_was_built_in_less) {
  LoadRequest request;
  request.plan.precision = Precision::kFp16;
  request.options.is_exact_fp32 = true;
  EXPECT_EQ(thrown_by([&] { find_target("cuda").load(request); }).kind(), ErrorKind::kUnsupported);
}

TEST(CudaTarget, refuses_a_bundle_without_an_engine_file) {
  LoadRequest request;
  request.part = "image";
  request.files = {{"image.timing.json", "record"}};
  const Error error = thrown_by([&] { find_target("cuda").load(request); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(error.message(), HasSubstr("image"));
}

TEST(CudaTarget, tells_doctor_why_it_does_not_run) {
  if (has_gpu()) GTEST_SKIP() << "there is a GPU";
  const nlohmann::json report = find_target("cuda").doctor();
  EXPECT_FALSE(report["available"].get<bool>());
  EXPECT_FALSE(report["can_run"].get<bool>());
  EXPECT_THAT(report["reason"].get<std::string>(), HasSubstr("NVIDIA"));
}

TEST(CudaTarget, converts_graphs_to_half_precision_when_nothing_is_said) {
  BuildPlan plan;
  EXPECT_EQ(find_target("cuda").graph_precision(plan), Precision::kFp16);
  plan.precision = Precision::kBf16;
  EXPECT_EQ(find_target("cuda").graph_precision(plan), Precision::kBf16);
}

}  // namespace
}  // namespace pajamas

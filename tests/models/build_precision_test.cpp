// What --precision auto promises: the fastest precision that stays accurate. A model that overflows float16 is built in
// float32, and a precision that was named is refused instead of changed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graph/graph_builder.h"
#include "io/onnx_writer.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"
#include "toolchain/build.h"

namespace pajamas::test {
namespace {

using testing::Contains;
using testing::HasSubstr;

/// Multiplies to 16,000,000 times the input and back: past float16's 65,504, well within float32 and bfloat16.
void write_overflowing_model(const std::filesystem::path& path) {
  GraphBuilder builder("overflowing");
  GraphValue value = builder.input("x", DType::kFloat32, {Dimension::known(1), Dimension::known(8)});
  value = builder.node("Mul", {value, builder.constant(4000.0F)});
  value = builder.node("Relu", {value});
  value = builder.node("Mul", {value, builder.constant(4000.0F)});
  value = builder.node("Relu", {value});
  value = builder.node("Mul", {value, builder.constant(1.0F / 16e6F)});
  builder.output("y", value, DType::kFloat32, {Dimension::known(1), Dimension::known(8)});
  write_onnx(builder.build(), path);
}

BuildRequest request_for(const TemporaryFolder& folder, Precision precision) {
  BuildRequest request;
  request.source = folder / "overflowing.onnx";
  request.output = folder / "bundle";
  request.plan.target = "tensorrt";
  request.plan.gpu_sms = {"sm89"};
  request.plan.precision = precision;
  request.hints.task = "none";
  return request;
}

TEST(BuildPrecision, AutoFallsBackToFloat32AndSaysSo) {
  const TemporaryFolder folder;
  write_overflowing_model(folder / "overflowing.onnx");
  const BuildResult result = build(request_for(folder, Precision::kAuto));
  EXPECT_EQ(result.manifest.precision, "fp32");
  EXPECT_THAT(result.notes, Contains(HasSubstr("auto chose fp32")));
}

TEST(BuildPrecision, NamedPrecisionIsRefusedAndNotChanged) {
  const TemporaryFolder folder;
  write_overflowing_model(folder / "overflowing.onnx");
  try {
    build(request_for(folder, Precision::kFp16));
    FAIL() << "a model that overflows float16 was built in it";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.remedy(), HasSubstr("--precision fp32"));
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "bundle"));
}

}  // namespace
}  // namespace pajamas::test

// Conversions to and from float8e4m3fn as generated loops do them on a real GPU, over every float16 and every code.
#include <gmock/gmock.h>

#include <cmath>

#include "gpu/run_on_gpu.h"
#include "graph/graph_builder.h"
#include "tensor/float8.h"
#include "tensor/half.h"

namespace pajamas::cuda {
namespace {

/// x / 1 as float8e4m3fn.
Model quantisation(std::int64_t count) {
  GraphBuilder graph("quantisation", 19);
  const GraphValue x = graph.input("x", DType::kFloat32, {Dimension::known(count)});
  Tensor zero(DType::kFloat8E4M3Fn, Shape{});
  zero.mutable_bytes()[0] = std::byte{0};
  const GraphValue codes = graph.node("QuantizeLinear", {x, graph.constant(1.0F), graph.constant(zero)});
  graph.output("y", codes, DType::kFloat8E4M3Fn, {Dimension::known(count)});
  return graph.build();
}

TEST(CudaFloat8, every_half_is_rounded_as_on_the_host) {
  PAJAMAS_NEED_GPU();
  // Even: two at a time; odd: one by one.
  for (const std::int64_t count : {65536, 65535}) {
    Tensor x(DType::kFloat32, Shape{count});
    const auto values = x.mutable_as<float>();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = float_from_float16(static_cast<std::uint16_t>(i));
    const BuiltEngine built =
        test::build_on_gpu(test::lowered_for_gpu(quantisation(count), Precision::kFp32), Precision::kFp32);
    const Tensor y = test::run_on_gpu(*built.engine, {x}).at(0);
    ASSERT_EQ(y.dtype(), DType::kFloat8E4M3Fn);
    const auto* codes = reinterpret_cast<const std::uint8_t*>(y.bytes().data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(codes[i], float8_e4m3_from_float(values[i])) << values[i] << " of " << count;
    }
  }
}

TEST(CudaFloat8, every_code_is_read_as_on_the_host) {
  PAJAMAS_NEED_GPU();
  GraphBuilder graph("dequantisation", 19);
  const GraphValue x = graph.input("x", DType::kFloat8E4M3Fn, {Dimension::known(256)});
  const GraphValue y = graph.node("DequantizeLinear", {x, graph.constant(0.5F)});
  graph.output("y", y, DType::kFloat32, {Dimension::known(256)});
  Tensor codes(DType::kFloat8E4M3Fn, Shape{256});
  for (std::size_t i = 0; i < 256; ++i) codes.mutable_bytes()[i] = static_cast<std::byte>(i);
  const BuiltEngine built =
      test::build_on_gpu(test::lowered_for_gpu(graph.build(), Precision::kFp32), Precision::kFp32);
  const Tensor found = test::run_on_gpu(*built.engine, {codes}).at(0);
  for (std::size_t i = 0; i < 256; ++i) {
    const float expected = 0.5F * float_from_float8_e4m3(static_cast<std::uint8_t>(i));
    const float actual = found.as<float>()[i];
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(actual)) << i;
    } else {
      EXPECT_EQ(actual, expected) << i;
    }
  }
}

}  // namespace
}  // namespace pajamas::cuda

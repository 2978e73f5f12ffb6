// The plain kernels as source: NVRTC takes every form of them. Their numbers are checked on a GPU (tests/gpu). Skips
// where NVRTC is missing.
#include <gmock/gmock.h>

#include "pajamas/error.h"
#include "targets/cuda/backends/activation_pass.h"
#include "targets/cuda/backends/plain_source.h"
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

class Steps {
 public:
  /// A value in a buffer of its own, row-major.
  ValueId value(DType dtype, const Shape& extents) {
    Value made;
    made.desc.dtype = dtype;
    made.desc.extents = extents;
    made.desc.strides.assign(extents.rank(), 1);
    for (std::size_t i = extents.rank(); i-- > 1;) made.desc.strides[i - 1] = made.desc.strides[i] * extents[i];
    made.buffer = static_cast<BufferId>(program.buffers.size());
    program.buffers.emplace_back();
    program.values.push_back(made);
    return static_cast<ValueId>(program.values.size() - 1);
  }
  std::vector<std::byte> compiled(StepWork work) {
    Step step;
    step.work = std::move(work);
    const auto source = make_plain_source(program, step);
    if (!source) return {};
    EXPECT_EQ(source->arguments.empty(), false);
    return compile_to_cubin(source->source, source->entry, 90);
  }
  Program program;
};

constexpr ActivationKind kActivations[] = {
    ActivationKind::kNone,      ActivationKind::kRelu,        ActivationKind::kSilu,      ActivationKind::kSigmoid,
    ActivationKind::kTanh,      ActivationKind::kGeluErf,     ActivationKind::kGeluTanh,  ActivationKind::kClip,
    ActivationKind::kLeakyRelu, ActivationKind::kHardSigmoid, ActivationKind::kHardSwish, ActivationKind::kElu,
    ActivationKind::kSoftplus,  ActivationKind::kMish};

TEST(CudaTargetPlain, compiles_products_of_8_bit_floats) {
  if (!has_nvrtc()) GTEST_SKIP() << "NVRTC is not on this machine";
  for (const DType result : {DType::kFloat16, DType::kFloat32, DType::kFloat8E4M3Fn}) {
    Steps steps;
    MatMulStep product;
    product.a = steps.value(DType::kFloat8E4M3Fn, {5, 7});
    product.b = steps.value(DType::kFloat8E4M3Fn, {7, 3});
    product.epilogue.bias = steps.value(DType::kFloat16, {3});
    product.epilogue.y_scale = 0.25F;
    product.y = steps.value(result, {5, 3});
    EXPECT_FALSE(steps.compiled(product).empty());
  }
}

TEST(CudaTargetPlain, compiles_products_of_8_bit_integers) {
  if (!has_nvrtc()) GTEST_SKIP() << "NVRTC is not on this machine";
  for (const DType result : {DType::kFloat16, DType::kFloat32, DType::kInt8}) {
    Steps steps;
    MatMulStep product;
    product.a = steps.value(DType::kInt8, {5, 7});
    product.b = steps.value(DType::kInt8, {7, 3});
    product.epilogue.bias = steps.value(DType::kFloat16, {3});
    product.epilogue.column_scale = steps.value(DType::kFloat32, {3});
    product.epilogue.column_sums = steps.value(DType::kInt32, {3});
    product.epilogue.a_zero_point = -3;
    product.epilogue.y_scale = 0.25F;
    product.epilogue.y_zero_point = 9;
    product.y = steps.value(result, {5, 3});
    EXPECT_FALSE(steps.compiled(product).empty());
  }
}

TEST(CudaTargetPlain, compiles_products_of_every_type_and_activation) {
  if (!has_nvrtc()) GTEST_SKIP() << "NVRTC is not on this machine";
  const DType types[] = {DType::kFloat16, DType::kBfloat16, DType::kFloat32, DType::kFloat64};
  for (std::size_t i = 0; i < std::size(kActivations); ++i) {
    const DType dtype = types[i % std::size(types)];
    Steps steps;
    MatMulStep product;
    product.a = steps.value(dtype, {2, 5, 7});
    product.b = steps.value(dtype, {2, 7, 3});
    product.y = steps.value(dtype, {2, 5, 3});
    product.scale = 0.5F;
    product.epilogue.bias = steps.value(DType::kFloat32, {3});
    product.epilogue.residual = steps.value(dtype, {2, 5, 3});
    product.epilogue.is_residual_before_activation = i % 2 == 0;
    product.epilogue.activation = {kActivations[i], 0.1F, 6.0F};
    EXPECT_FALSE(steps.compiled(product).empty()) << i;
  }
}

TEST(CudaTargetPlain, compiles_the_pass_of_every_activation) {
  if (!has_nvrtc()) GTEST_SKIP() << "NVRTC is not on this machine";
  for (const ActivationKind kind : kActivations) {
    for (const DType dtype : {DType::kFloat16, DType::kBfloat16}) {
      Steps steps;
      MatMulStep product;
      product.a = steps.value(dtype, {5, 8});
      product.b = steps.value(dtype, {8, 16});
      product.y = steps.value(dtype, {5, 16});
      product.epilogue.activation = {kind, 0.1F, 6.0F};
      Value& y = steps.program.values.back();
      if (kind == ActivationKind::kSilu) y.desc.strides[0] = 24;  // Rows with a gap.
      Step step;
      step.work = product;
      const auto source = make_activation_pass(steps.program, step);
      ASSERT_EQ(source.has_value(), kind != ActivationKind::kNone);
      if (source) {
        EXPECT_FALSE(compile_to_cubin(source->source, source->entry, 90).empty());
      }
      y.desc.strides[0] = 20;  // No whole vectors.
      EXPECT_FALSE(make_activation_pass(steps.program, step));
    }
  }
}

TEST(CudaTargetPlain, compiles_convolutions_of_every_rank_and_their_transposes) {
  if (!has_nvrtc()) GTEST_SKIP() << "NVRTC is not on this machine";
  for (std::size_t num_spatial = 1; num_spatial <= 3; ++num_spatial) {
    for (const bool is_transposed : {false, true}) {
      Steps steps;
      Shape x{1, 4};
      Shape weights = is_transposed ? Shape{4, 3} : Shape{6, 2};
      Shape y{1, 6};
      for (std::size_t i = 0; i < num_spatial; ++i) {
        x.push_back(9);
        weights.push_back(3);
        y.push_back(is_transposed ? 17 : 5);
      }
      ConvStep conv;
      conv.x = steps.value(DType::kFloat16, x);
      conv.weights = steps.value(DType::kFloat16, weights);
      conv.y = steps.value(DType::kFloat16, y);
      conv.pads_begin = conv.pads_end = std::vector<std::int64_t>(num_spatial, 1);
      conv.strides = std::vector<std::int64_t>(num_spatial, 2);
      conv.dilations = std::vector<std::int64_t>(num_spatial, 1);
      conv.groups = 2;
      conv.is_transposed = is_transposed;
      conv.epilogue.bias = steps.value(DType::kFloat16, {6});
      EXPECT_FALSE(steps.compiled(conv).empty()) << num_spatial;
    }
  }
}

TEST(CudaTargetPlain, compiles_attention_with_and_without_mask) {
  if (!has_nvrtc()) GTEST_SKIP() << "NVRTC is not on this machine";
  for (const bool has_mask : {false, true}) {
    Steps steps;
    AttentionStep attention;
    attention.q = steps.value(DType::kBfloat16, {1, 4, 5, 8});
    attention.k = steps.value(DType::kBfloat16, {1, 2, 7, 8});
    attention.v = steps.value(DType::kBfloat16, {1, 2, 7, 6});
    attention.y = steps.value(DType::kBfloat16, {1, 4, 5, 6});
    if (has_mask) attention.mask = steps.value(DType::kFloat32, {5, 7});
    attention.is_causal = !has_mask;
    EXPECT_FALSE(steps.compiled(attention).empty());
  }
}

TEST(CudaTargetPlain, leaves_other_steps_and_refuses_other_types) {
  Steps steps;
  EXPECT_TRUE(steps.compiled(LoopStep{}).empty());
  MatMulStep product;
  product.a = steps.value(DType::kInt16, {2, 2});
  product.b = steps.value(DType::kInt16, {2, 2});
  product.y = steps.value(DType::kInt16, {2, 2});
  EXPECT_THROW(steps.compiled(product), Error);
}

}  // namespace
}  // namespace pajamas::cuda

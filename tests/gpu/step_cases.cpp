// See step_cases.h.
#include "gpu/step_cases.h"

#include <algorithm>

namespace pajamas::test {
namespace {

using cuda::Activation;
using cuda::ActivationKind;
using cuda::Buffer;
using cuda::Program;
using cuda::TensorDesc;
using cuda::Value;
using cuda::ValueId;

ValueId add_value(Program& program, const std::string& name, const TensorDesc& desc, std::int64_t offset = 0,
                  std::int64_t num_elements = -1) {
  if (num_elements < 0) {
    num_elements = 1;
    for (std::size_t axis = 0; axis < desc.strides.size(); ++axis) {
      num_elements += (desc.extents[axis] - 1) * desc.strides[axis];
    }
  }
  Buffer buffer;
  buffer.name = name;
  buffer.size_bytes = static_cast<std::size_t>(num_elements) * static_cast<std::size_t>(bits_of(desc.dtype)) / 8;
  program.buffers.push_back(buffer);
  Value value;
  value.name = name;
  value.desc = desc;
  value.buffer = static_cast<cuda::BufferId>(program.buffers.size() - 1);
  value.offset_elements = offset;
  program.values.push_back(value);
  return static_cast<ValueId>(program.values.size() - 1);
}

std::vector<std::int64_t> row_major(const std::vector<std::int64_t>& extents) {
  std::vector<std::int64_t> strides(extents.size(), 1);
  for (std::size_t axis = extents.size(); axis-- > 1;) strides[axis - 1] = strides[axis] * extents[axis];
  return strides;
}

/// Channels innermost, `pitch` of them from one pixel to the next.
TensorDesc channels_last(DType dtype, const std::vector<std::int64_t>& extents, std::int64_t pitch) {
  std::vector<std::int64_t> strides(extents.size(), 1);
  std::int64_t running = pitch;
  for (std::size_t axis = extents.size(); axis-- > 2;) {
    strides[axis] = running;
    running *= extents[axis];
  }
  strides[0] = running;
  return {dtype, Shape(extents), strides};
}

ValueId add_image(Program& program, const std::string& name, DType dtype, const std::vector<std::int64_t>& extents,
                  std::int64_t pitch, std::int64_t offset) {
  std::int64_t num_pixels = extents[0];
  for (std::size_t axis = 2; axis < extents.size(); ++axis) num_pixels *= extents[axis];
  if (pitch == 0) pitch = extents[1];
  return add_value(program, name, channels_last(dtype, extents, pitch), offset, num_pixels * pitch);
}

ValueId add_vector(Program& program, const std::string& name, DType dtype, std::int64_t extent) {
  return add_value(program, name, {dtype, Shape({extent}), {1}});
}

const char* text(DType dtype) {
  switch (dtype) {
    case DType::kFloat16: return "fp16";
    case DType::kBfloat16: return "bf16";
    case DType::kFloat8E4M3Fn: return "fp8";
    case DType::kInt8: return "int8";
    default: return "fp32";
  }
}

void finish(StepCase& result, cuda::StepWork work) {
  cuda::Step step;
  step.work = std::move(work);
  step.fused_from = {result.name};
  result.program.steps.push_back(std::move(step));
}

}  // namespace

StepCase conv_case(const ConvSpec& spec) {
  StepCase result{spec.name + " " + text(spec.dtype), {}};
  Program& program = result.program;
  cuda::ConvStep conv;
  conv.strides = spec.strides;
  conv.pads_begin = spec.pads;
  conv.pads_end = spec.pads_end.empty() ? spec.pads : spec.pads_end;
  conv.dilations = spec.dilations;
  conv.groups = spec.groups;
  conv.is_transposed = spec.is_transposed;
  std::vector<std::int64_t> y{spec.x[0], spec.num_channels};
  std::vector<std::int64_t> weights = spec.is_transposed
                                          ? std::vector<std::int64_t>{spec.x[1], spec.num_channels / spec.groups}
                                          : std::vector<std::int64_t>{spec.num_channels, spec.x[1] / spec.groups};
  const std::size_t num_spatial = spec.kernel.size();
  if (conv.strides.empty()) conv.strides.assign(num_spatial, 1);
  if (conv.dilations.empty()) conv.dilations.assign(num_spatial, 1);
  if (conv.pads_begin.empty()) conv.pads_begin.assign(num_spatial, 0);
  if (conv.pads_end.empty()) conv.pads_end.assign(num_spatial, 0);
  for (std::size_t i = 0; i < num_spatial; ++i) {
    const std::int64_t reach = conv.dilations[i] * (spec.kernel[i] - 1) + 1;
    const std::int64_t pads = conv.pads_begin[i] + conv.pads_end[i];
    y.push_back(spec.is_transposed ? (spec.x[i + 2] - 1) * conv.strides[i] + reach - pads
                                   : (spec.x[i + 2] + pads - reach) / conv.strides[i] + 1);
    weights.push_back(spec.kernel[i]);
  }
  conv.x = add_image(program, "x", spec.dtype, spec.x, spec.x_pitch, spec.x_offset);
  conv.weights = add_image(program, "weights", spec.dtype, weights, 0, 0);
  if (spec.has_bias) conv.epilogue.bias = add_vector(program, "bias", spec.dtype, spec.num_channels);
  if (spec.residual != 0) {
    conv.epilogue.residual = add_image(program, "residual", spec.dtype, y, 0, 0);
    conv.epilogue.is_residual_before_activation = spec.residual == 1;
  }
  conv.epilogue.activation = spec.activation;
  conv.y = spec.is_y_row_major ? add_value(program, "y", {spec.dtype, Shape(y), row_major(y)})
                               : add_image(program, "y", spec.dtype, y, spec.y_pitch, spec.y_offset);
  finish(result, conv);
  return result;
}

StepCase matmul_case(const MatMulSpec& spec) {
  StepCase result{spec.name + " " + text(spec.dtype), {}};
  Program& program = result.program;
  cuda::MatMulStep product;
  const auto matrix = [&](std::int64_t rows, std::int64_t columns) {
    std::vector<std::int64_t> extents = spec.batch;
    extents.push_back(rows);
    extents.push_back(columns);
    return extents;
  };
  const std::size_t num_batch = spec.batch.size();
  const auto a = matrix(spec.m, spec.k);
  const DType factor = spec.is_integer ? DType::kInt8 : spec.is_small ? DType::kFloat8E4M3Fn : spec.dtype;
  product.a = add_value(program, "a", {factor, Shape(a), row_major(a)});
  const auto b = matrix(spec.k, spec.n);
  std::vector<std::int64_t> b_strides = row_major(b);
  if (spec.is_b_transposed) {
    b_strides[num_batch] = 1;
    b_strides[num_batch + 1] = spec.k;
  }
  if (spec.is_b_broadcast) std::fill_n(b_strides.begin(), num_batch, 0);
  product.b = add_value(program, "b", {factor, Shape(b), b_strides});
  product.scale = spec.scale;
  if (spec.has_bias) product.epilogue.bias = add_vector(program, "bias", spec.dtype, spec.n);
  const auto y = matrix(spec.m, spec.n);
  if (spec.residual != 0) {
    product.epilogue.residual = add_value(program, "residual", {spec.dtype, Shape(y), row_major(y)});
    product.epilogue.is_residual_before_activation = spec.residual == 1;
  }
  product.epilogue.activation = spec.activation;
  std::vector<std::int64_t> y_strides = row_major(matrix(spec.m, spec.y_pitch == 0 ? spec.n : spec.y_pitch));
  std::int64_t num_rows = spec.m;
  for (const std::int64_t extent : spec.batch) num_rows *= extent;
  if (spec.y_scale > 0) product.epilogue.y_scale = spec.y_scale;
  const DType result_type = spec.y_scale > 0 ? factor : spec.dtype;
  product.epilogue.y_zero_point = spec.y_zero_point;
  if (spec.has_column_scale) {
    product.epilogue.column_scale = add_vector(program, "column_scale", DType::kFloat32, spec.n);
  }
  if (spec.a_zero_point != 0) {
    product.epilogue.a_zero_point = spec.a_zero_point;
    product.epilogue.column_sums = add_vector(program, "column_sums", DType::kInt32, spec.n);
  }
  product.y = add_value(program, "y", {result_type, Shape(y), y_strides}, spec.y_offset,
                        num_rows * (spec.y_pitch == 0 ? spec.n : spec.y_pitch));
  finish(result, product);
  return result;
}

StepCase attention_case(const AttentionSpec& spec) {
  StepCase result{spec.name + " " + text(spec.dtype), {}};
  Program& program = result.program;
  const auto heads = [&](const std::string& name, std::int64_t num_heads, std::int64_t length) {
    TensorDesc desc;
    desc.dtype = spec.dtype;
    desc.extents = Shape({spec.batch, num_heads, length, spec.head_dim});
    desc.strides = spec.is_packed ? std::vector<std::int64_t>{length * num_heads * spec.head_dim, spec.head_dim,
                                                              num_heads * spec.head_dim, 1}
                                  : row_major(desc.extents.extents());
    return add_value(program, name, desc);
  };
  cuda::AttentionStep attention;
  attention.q = heads("q", spec.num_heads, spec.seq_len);
  attention.k = heads("k", spec.num_kv_heads, spec.kv_len);
  attention.v = heads("v", spec.num_kv_heads, spec.kv_len);
  if (spec.is_merged) {
    const std::int64_t columns = spec.num_heads * spec.head_dim;
    program.buffers.resize(1);
    program.buffers[0].size_bytes *= 3;
    for (std::size_t i = 0; i < 3; ++i) {
      Value& value = program.values[i];
      value.buffer = 0;
      value.offset_elements = static_cast<std::int64_t>(i) * columns;
      value.desc.strides = {spec.seq_len * 3 * columns, spec.head_dim, 3 * columns, 1};
    }
  }
  if (spec.has_mask) {
    const std::vector<std::int64_t> mask{spec.batch, 1, spec.seq_len, spec.kv_len};
    attention.mask = add_value(program, "mask", {spec.dtype, Shape(mask), row_major(mask)});
  }
  attention.y = heads("y", spec.num_heads, spec.seq_len);
  attention.scale = spec.head_dim == 64 ? 0.125F : 0.0883883F;
  attention.is_causal = spec.is_causal;
  finish(result, attention);
  return result;
}

std::vector<StepCase> step_cases() {
  constexpr DType kHalf = DType::kFloat16;
  constexpr DType kBfloat = DType::kBfloat16;
  constexpr DType kFloat = DType::kFloat32;
  const Activation relu{ActivationKind::kRelu, 0, 0};
  const Activation silu{ActivationKind::kSilu, 0, 0};
  const Activation gelu{ActivationKind::kGeluErf, 0, 0};
  std::vector<StepCase> cases;
  const auto conv = [&](ConvSpec spec) { cases.push_back(conv_case(spec)); };
  const auto matmul = [&](MatMulSpec spec) { cases.push_back(matmul_case(spec)); };
  const auto attention = [&](AttentionSpec spec) {
    spec.name = "attention " + spec.name;
    cases.push_back(attention_case(spec));
  };
  // YOLOv8n at 640: the stem (input channels padded to 4), the backbone, the head, a slice of a Concat each way.
  conv({.name = "yolo stem",
        .x = {1, 4, 640, 640},
        .num_channels = 16,
        .kernel = {3, 3},
        .strides = {2, 2},
        .pads = {1, 1},
        .activation = silu});
  conv({.name = "yolo 16→32 s2",
        .x = {1, 16, 320, 320},
        .num_channels = 32,
        .kernel = {3, 3},
        .strides = {2, 2},
        .pads = {1, 1},
        .activation = silu});
  conv({.name = "yolo 16→16+res",
        .x = {1, 16, 160, 160},
        .num_channels = 16,
        .kernel = {3, 3},
        .pads = {1, 1},
        .activation = silu,
        .residual = 2,
        .x_pitch = 32,
        .x_offset = 16,
        .y_pitch = 48,
        .y_offset = 32});
  conv({.name = "yolo 1x1 48→32", .x = {1, 48, 160, 160}, .num_channels = 32, .kernel = {1, 1}, .activation = silu});
  conv({.name = "yolo 64→80",
        .x = {1, 64, 80, 80},
        .num_channels = 80,
        .kernel = {3, 3},
        .pads = {1, 1},
        .activation = silu});
  conv({.name = "yolo 80→80 1x1", .x = {1, 80, 80, 80}, .num_channels = 80, .kernel = {1, 1}});
  conv({.name = "yolo 128→256 s2",
        .x = {1, 128, 40, 40},
        .num_channels = 256,
        .kernel = {3, 3},
        .strides = {2, 2},
        .pads = {1, 1},
        .activation = silu});
  // ResNet-50.
  conv({.name = "resnet stem",
        .x = {1, 4, 224, 224},
        .num_channels = 64,
        .kernel = {7, 7},
        .strides = {2, 2},
        .pads = {3, 3},
        .activation = relu});
  conv({.name = "resnet 64→256+res",
        .x = {1, 64, 56, 56},
        .num_channels = 256,
        .kernel = {1, 1},
        .activation = relu,
        .residual = 1});
  conv({.name = "resnet 3x3 256@14",
        .x = {1, 256, 14, 14},
        .num_channels = 256,
        .kernel = {3, 3},
        .pads = {1, 1},
        .activation = relu});
  conv({.name = "resnet 2048→512@7", .x = {1, 2048, 7, 7}, .num_channels = 512, .kernel = {1, 1}, .activation = relu});
  conv({.name = "resnet down", .x = {1, 256, 56, 56}, .num_channels = 512, .kernel = {1, 1}, .strides = {2, 2}});
  // Whisper's convolutions, one axis; ViT's patches.
  conv({.name = "whisper conv1",
        .x = {1, 80, 3000},
        .num_channels = 384,
        .kernel = {3},
        .pads = {1},
        .activation = gelu});
  conv({.name = "whisper conv2",
        .x = {1, 384, 3000},
        .num_channels = 384,
        .kernel = {3},
        .strides = {2},
        .pads = {1},
        .activation = gelu});
  conv({.name = "vit patches", .x = {1, 4, 224, 224}, .num_channels = 768, .kernel = {16, 16}, .strides = {16, 16}});
  // Odd ones.
  for (const DType dtype : {kHalf, kBfloat, kFloat}) {
    conv({.name = "odd 3→5",
          .dtype = dtype,
          .x = {2, 3, 13, 7},
          .num_channels = 5,
          .kernel = {3, 3},
          .pads = {1, 1},
          .activation = relu});
    conv({.name = "odd 1→13", .dtype = dtype, .x = {1, 1, 9, 9}, .num_channels = 13, .kernel = {1, 1}});
    conv({.name = "odd 7→1", .dtype = dtype, .x = {1, 7, 5, 11}, .num_channels = 1, .kernel = {5, 3}, .pads = {2, 0}});
    conv({.name = "depthwise",
          .dtype = dtype,
          .x = {1, 32, 28, 28},
          .num_channels = 32,
          .kernel = {3, 3},
          .pads = {1, 1},
          .groups = 32,
          .activation = {ActivationKind::kClip, 0, 6}});
    conv({.name = "grouped",
          .dtype = dtype,
          .x = {1, 32, 14, 14},
          .num_channels = 64,
          .kernel = {3, 3},
          .pads = {1, 1},
          .groups = 4,
          .activation = relu});
    conv({.name = "dilated",
          .dtype = dtype,
          .x = {1, 16, 20, 20},
          .num_channels = 24,
          .kernel = {3, 3},
          .pads = {2, 2},
          .dilations = {2, 2},
          .activation = {ActivationKind::kHardSwish, 0, 0}});
    conv({.name = "transposed",
          .dtype = dtype,
          .x = {1, 16, 10, 10},
          .num_channels = 8,
          .kernel = {2, 2},
          .strides = {2, 2},
          .is_transposed = true});
    conv({.name = "uneven padding",
          .dtype = dtype,
          .x = {1, 16, 15, 15},
          .num_channels = 16,
          .kernel = {3, 3},
          .strides = {2, 2},
          .pads = {0, 0},
          .pads_end = {2, 2},
          .activation = {ActivationKind::kLeakyRelu, 0.1F, 0}});
    conv({.name = "volume",
          .dtype = dtype,
          .x = {1, 8, 5, 6, 7},
          .num_channels = 16,
          .kernel = {3, 3, 3},
          .pads = {1, 1, 1}});
    matmul({.name = "odd", .dtype = dtype, .m = 13, .n = 7, .k = 5, .has_bias = true});
    matmul(
        {.name = "one row", .dtype = dtype, .m = 1, .n = 1000, .k = 1280, .is_b_transposed = true, .has_bias = true});
    matmul({.name = "batched", .dtype = dtype, .batch = {2, 3}, .m = 17, .n = 24, .k = 16, .scale = 0.25F});
    matmul({.name = "one b",
            .dtype = dtype,
            .batch = {4},
            .m = 9,
            .n = 16,
            .k = 32,
            .is_b_broadcast = true,
            .activation = relu,
            .has_bias = true});
    attention({.name = "small heads",
               .dtype = dtype,
               .batch = 2,
               .num_heads = 3,
               .num_kv_heads = 3,
               .seq_len = 13,
               .kv_len = 13,
               .head_dim = 64});
  }
  for (const ActivationKind kind :
       {ActivationKind::kSigmoid, ActivationKind::kTanh, ActivationKind::kGeluTanh, ActivationKind::kHardSigmoid,
        ActivationKind::kElu, ActivationKind::kSoftplus, ActivationKind::kMish}) {
    conv({.name = "activation " + std::to_string(static_cast<int>(kind)),
          .x = {1, 16, 12, 12},
          .num_channels = 32,
          .kernel = {3, 3},
          .pads = {1, 1},
          .activation = {kind, kind == ActivationKind::kElu ? 1.0F : 0.2F, 0.5F}});
  }
  conv({.name = "clip",
        .x = {1, 16, 12, 12},
        .num_channels = 32,
        .kernel = {3, 3},
        .pads = {1, 1},
        .activation = {ActivationKind::kClip, -0.5F, 0.7F}});
  conv(
      {.name = "row-major result", .x = {1, 64, 20, 20}, .num_channels = 80, .kernel = {1, 1}, .is_y_row_major = true});
  conv({.name = "row-major result silu",
        .x = {2, 32, 10, 12},
        .num_channels = 24,
        .kernel = {3, 3},
        .pads = {1, 1},
        .activation = silu,
        .is_y_row_major = true});
  // ViT-B and Whisper.
  matmul({.name = "vit qkv", .batch = {1}, .m = 197, .n = 2304, .k = 768, .has_bias = true});
  matmul({.name = "vit out+res", .batch = {1}, .m = 197, .n = 768, .k = 768, .has_bias = true, .residual = 2});
  matmul({.name = "vit fc1", .batch = {1}, .m = 197, .n = 3072, .k = 768, .activation = gelu, .has_bias = true});
  matmul({.name = "vit fc2+res", .batch = {1}, .m = 197, .n = 768, .k = 3072, .has_bias = true, .residual = 1});
  matmul({.name = "whisper fc1", .batch = {1}, .m = 1500, .n = 1536, .k = 384, .activation = gelu, .has_bias = true});
  matmul({.name = "large fc1", .batch = {1}, .m = 1500, .n = 5120, .k = 1280, .activation = gelu, .has_bias = true});
  // 8-bit floats: ViT-B at batch 16, Whisper large at batch 1, and odd ones.
  for (const float y_scale : {0.0F, 0.0625F}) {
    matmul({.name = y_scale > 0 ? "vit fc1 fp8 to fp8" : "vit fc1 fp8",
            .m = 3152,
            .n = 3072,
            .k = 768,
            .is_b_transposed = true,
            .activation = gelu,
            .has_bias = true,
            .is_small = true,
            .y_scale = y_scale});
  }
  matmul({.name = "vit fc2+res fp8",
          .m = 3152,
          .n = 768,
          .k = 3072,
          .is_b_transposed = true,
          .scale = 0.25F,
          .has_bias = true,
          .residual = 1,
          .is_small = true});
  matmul({.name = "vit qkv fp8",
          .m = 3152,
          .n = 2304,
          .k = 768,
          .is_b_transposed = true,
          .has_bias = true,
          .is_small = true});
  matmul({.name = "vit out+res fp8",
          .m = 3152,
          .n = 768,
          .k = 768,
          .is_b_transposed = true,
          .has_bias = true,
          .residual = 1,
          .is_small = true});
  for (const float y_scale : {0.0F, 0.0625F}) {
    matmul({.name = y_scale > 0 ? "large fc1 fp8 to fp8" : "large fc1 fp8",
            .m = 1500,
            .n = 5120,
            .k = 1280,
            .is_b_transposed = true,
            .activation = gelu,
            .has_bias = true,
            .is_small = true,
            .y_scale = y_scale});
  }
  matmul({.name = "large fc2+res fp8",
          .m = 1500,
          .n = 1280,
          .k = 5120,
          .is_b_transposed = true,
          .has_bias = true,
          .residual = 1,
          .is_small = true});
  matmul({.name = "large qkv fp8",
          .m = 1500,
          .n = 3840,
          .k = 1280,
          .is_b_transposed = true,
          .has_bias = true,
          .is_small = true});
  // 8-bit integers: the same layers, and odd ones.
  for (const float y_scale : {0.0F, 0.02F}) {
    matmul({.name = y_scale > 0 ? "vit fc1 int8 to int8" : "vit fc1 int8",
            .m = 3152,
            .n = 3072,
            .k = 768,
            .is_b_transposed = true,
            .scale = 1e-5F,
            .activation = gelu,
            .has_bias = true,
            .is_integer = true,
            .has_column_scale = true,
            .y_scale = y_scale});
  }
  matmul({.name = "vit fc2+res int8",
          .m = 3152,
          .n = 768,
          .k = 3072,
          .is_b_transposed = true,
          .scale = 1e-5F,
          .has_bias = true,
          .residual = 1,
          .is_integer = true,
          .has_column_scale = true,
          .a_zero_point = 2});
  matmul({.name = "vit qkv int8",
          .m = 197,
          .n = 2304,
          .k = 768,
          .is_b_transposed = true,
          .scale = 1e-5F,
          .has_bias = true,
          .is_integer = true,
          .has_column_scale = true});
  matmul({.name = "large fc1 int8",
          .m = 1500,
          .n = 5120,
          .k = 1280,
          .is_b_transposed = true,
          .scale = 1e-5F,
          .activation = gelu,
          .has_bias = true,
          .is_integer = true,
          .has_column_scale = true});
  matmul({.name = "odd int8",
          .dtype = kBfloat,
          .m = 13,
          .n = 7,
          .k = 5,
          .is_b_transposed = true,
          .scale = 1e-4F,
          .activation = silu,
          .has_bias = true,
          .is_integer = true,
          .has_column_scale = true,
          .a_zero_point = -9});
  matmul({.name = "odd int8 to int8",
          .m = 65,
          .n = 48,
          .k = 80,
          .is_b_transposed = true,
          .y_pitch = 64,
          .y_offset = 16,
          .scale = 1e-5F,
          .activation = silu,
          .has_bias = true,
          .is_integer = true,
          .has_column_scale = true,
          .a_zero_point = 4,
          .y_scale = 0.01F,
          .y_zero_point = -7});
  matmul({.name = "odd fp8", .m = 13, .n = 7, .k = 5, .is_b_transposed = true, .has_bias = true, .is_small = true});
  matmul({.name = "odd fp8 to fp8",
          .dtype = kBfloat,
          .m = 65,
          .n = 48,
          .k = 80,
          .is_b_transposed = true,
          .y_pitch = 64,
          .y_offset = 16,
          .scale = 2,
          .activation = silu,
          .has_bias = true,
          .is_small = true,
          .y_scale = 0.03125F});
  matmul({.name = "into a slice",
          .m = 64,
          .n = 96,
          .k = 128,
          .is_b_transposed = true,
          .y_pitch = 256,
          .y_offset = 32,
          .activation = silu,
          .has_bias = true});
  attention({.name = "vit", .batch = 1, .num_heads = 12, .num_kv_heads = 12, .seq_len = 197, .kv_len = 197});
  attention({.name = "vit rows",
             .batch = 1,
             .num_heads = 12,
             .num_kv_heads = 12,
             .seq_len = 197,
             .kv_len = 197,
             .is_packed = false});
  attention({.name = "whisper", .batch = 1, .num_heads = 6, .num_kv_heads = 6, .seq_len = 1500, .kv_len = 1500});
  attention({.name = "merged, odd batch",
             .batch = 3,
             .num_heads = 2,
             .num_kv_heads = 2,
             .seq_len = 259,
             .kv_len = 259,
             .is_merged = true});
  attention({.name = "one row", .num_heads = 3, .num_kv_heads = 1, .seq_len = 1, .kv_len = 65});
  for (const std::int64_t head_dim : {32, 40, 80, 128}) {
    attention({.name = "heads of " + std::to_string(head_dim),
               .dtype = head_dim == 40 ? kBfloat : kHalf,
               .batch = 2,
               .num_heads = 4,
               .num_kv_heads = 2,
               .seq_len = 150,
               .kv_len = 300,
               .head_dim = head_dim});
  }
  attention(
      {.name = "masked", .batch = 2, .num_heads = 4, .num_kv_heads = 4, .seq_len = 77, .kv_len = 77, .has_mask = true});
  attention({.name = "causal gqa",
             .batch = 1,
             .num_heads = 8,
             .num_kv_heads = 2,
             .seq_len = 100,
             .kv_len = 100,
             .head_dim = 128,
             .is_causal = true});
  attention({.name = "bf16 heads",
             .dtype = kBfloat,
             .batch = 1,
             .num_heads = 12,
             .num_kv_heads = 12,
             .seq_len = 197,
             .kv_len = 197});
  return cases;
}

}  // namespace pajamas::test

// Small models and folders for the tests of the target `tensorrt`.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "targets/tensorrt/library.h"
#include "tensor/half.h"

namespace pajamas::tensorrt::testing {

inline ValueInfo value(std::string name, DType dtype, std::vector<Dimension> shape) {
  ValueInfo info;
  info.name = std::move(name);
  info.type = ValueType{};
  info.type->dtype = dtype;
  info.type->shape = std::move(shape);
  return info;
}

inline std::vector<Dimension> fixed(std::initializer_list<std::int64_t> extents) {
  std::vector<Dimension> shape;
  for (const std::int64_t extent : extents) shape.push_back(Dimension::known(extent));
  return shape;
}

inline Node node(std::string op_type, std::vector<std::string> inputs, std::vector<std::string> outputs,
                 std::string name) {
  Node result;
  result.op_type = std::move(op_type);
  result.inputs = std::move(inputs);
  result.outputs = std::move(outputs);
  result.name = std::move(name);
  return result;
}

inline Model model_of(std::vector<ValueInfo> inputs, std::vector<Node> nodes, std::vector<ValueInfo> outputs,
                      std::int64_t opset = 17) {
  Model model;
  model.ir_version = 10;
  model.opset_imports = {{"", opset}};
  model.graph.name = "test";
  model.graph.inputs = std::move(inputs);
  model.graph.nodes = std::move(nodes);
  model.graph.outputs = std::move(outputs);
  return model;
}

/// Numbers in [-1, 1) that repeat in every run, as float32, float16 or bfloat16.
inline Tensor numbers(DType dtype, Shape shape) {
  Tensor tensor(dtype, shape);
  const auto count = static_cast<std::size_t>(shape.num_elements());
  std::uint32_t state = 12345;
  for (std::size_t i = 0; i < count; ++i) {
    state = state * 1664525U + 1013904223U;
    const float number = static_cast<float>(state >> 8) / static_cast<float>(1U << 23) - 1.0F;
    if (dtype == DType::kFloat32) {
      tensor.mutable_as<float>()[i] = number;
    } else {
      const std::uint16_t bits = dtype == DType::kFloat16 ? float16_from_float(number) : bfloat16_from_float(number);
      std::memcpy(tensor.mutable_bytes().data() + 2 * i, &bits, 2);
    }
  }
  return tensor;
}

/// Conv 3→8, 3×3, then Relu, on [batch, 3, 16, 16]; the batch is open when `batch` is 0.
inline Model conv_model(DType dtype, std::int64_t batch = 1) {
  std::vector<Dimension> in = fixed({batch, 3, 16, 16});
  std::vector<Dimension> out = fixed({batch, 8, 16, 16});
  if (batch == 0) in[0] = out[0] = Dimension::named("batch");
  Node conv = node("Conv", {"x", "w"}, {"c"}, "conv0");
  conv.set_attribute("pads", std::vector<std::int64_t>{1, 1, 1, 1});
  Model model =
      model_of({value("x", dtype, in)}, {conv, node("Relu", {"c"}, {"y"}, "relu0")}, {value("y", dtype, out)});
  model.graph.set_initializer("w", numbers(dtype, {8, 3, 3, 3}));
  return model;
}

/// MatMul of [4, 64] by a constant [64, 32].
inline Model matmul_model(DType dtype) {
  Model model = model_of({value("x", dtype, fixed({4, 64}))}, {node("MatMul", {"x", "w"}, {"y"}, "mm0")},
                         {value("y", dtype, fixed({4, 32}))});
  model.graph.set_initializer("w", numbers(dtype, {64, 32}));
  return model;
}

/// A chain of `length` Relu nodes, which makes vendor code recurse.
inline Model chain_model(int length) {
  std::vector<Node> nodes;
  for (int i = 0; i < length; ++i) {
    nodes.push_back(node("Relu", {i == 0 ? "x" : "t" + std::to_string(i - 1)},
                         {i == length - 1 ? "y" : "t" + std::to_string(i)}, "relu" + std::to_string(i)));
  }
  return model_of({value("x", DType::kFloat32, fixed({4}))}, std::move(nodes),
                  {value("y", DType::kFloat32, fixed({4}))});
}

/// A folder of its own, removed at the end.
class FolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "pajamas-tensorrt-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::permissions(folder_, std::filesystem::perms::owner_all, ignored);
    std::filesystem::remove_all(folder_, ignored);
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  std::filesystem::path folder_;
};

/// The TensorRT library of this build; tests that need it skip without.
inline bool has_library() {
  for (const LibraryPaths& paths : library_candidates()) {
    if (paths.library.has_parent_path()) return true;
  }
  return false;
}

}  // namespace pajamas::tensorrt::testing

#define PAJAMAS_NEEDS_TENSORRT() \
  if (!::pajamas::tensorrt::testing::has_library()) GTEST_SKIP() << "no TensorRT library here: run ./dev setup"

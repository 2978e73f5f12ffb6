// Calibration of products in 8-bit floats: magnitudes by running the model, what stands in the manifest, and which
// files of a folder are pictures.
#include "toolchain/calibrate.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "graph/graph_builder.h"
#include "graph/interpreter.h"
#include "graph/passes/passes.h"
#include "io/onnx_writer.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"
#include "verify/onnxruntime_reference.h"

namespace pajamas {
namespace {

/// x · W, and three times that · W again.
Model model() {
  GraphBuilder graph("products");
  const std::vector<Dimension> square{Dimension::known(64), Dimension::known(64)};
  const GraphValue x = graph.input("x", DType::kFloat32, square);
  Tensor identity(DType::kFloat32, Shape{64, 64});
  const auto values = identity.mutable_as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 65 == 0 ? 1.0F : 0.0F;
  const GraphValue w = graph.weight("w", identity);
  const GraphValue middle = graph.node("Mul", {graph.node("MatMul", {x, w}), graph.constant(3.0F)});
  graph.output("y", graph.node("MatMul", {middle, w}), DType::kFloat32, square);
  return graph.build();
}

TEST(Calibrate, runs_the_model_on_made_up_inputs) {
  const Model source = model();
  TaskFacts task;
  CalibrationRequest request;
  request.source = &source;
  request.lowered = &source;
  request.part = "model";
  request.task = &task;
  const Calibration found = calibrate(request);
  ASSERT_EQ(found.magnitudes.size(), 2U);
  const float of_x = found.magnitudes.at("x");
  EXPECT_GT(of_x, 0.5F);
  for (const auto& [name, largest] : found.magnitudes) {
    EXPECT_FLOAT_EQ(largest, name == "x" ? of_x : 3 * of_x) << name;
  }
  EXPECT_NE(found.inputs.find("made-up"), std::string::npos) << found.inputs;
  EXPECT_EQ(calibrate(request).magnitudes, found.magnitudes) << "the same inputs every time";
}

/// The proof runs the lowered model by ONNX Runtime, quantised and in float16.
TEST(Calibrate, onnxruntime_computes_what_the_interpreter_computes_of_a_quantised_model) {
  Model lowered = model();
  PrecisionOptions precision;
  convert_precision(lowered, precision);
  const Tensor x = [] {
    Tensor tensor(DType::kFloat32, Shape{64, 64});
    float next = -2;
    for (float& value : tensor.mutable_as<float>()) value = next += 0.001F;
    return tensor;
  }();
  Magnitudes magnitudes;
  for (const std::string& name : quantizable_activations(lowered)) magnitudes[name] = 7;
  ASSERT_EQ(magnitudes.size(), 2U);
  quantize_products(lowered, magnitudes);
  const std::string bytes = serialize_onnx(lowered);
  std::vector<Tensor> actual;
  try {
    actual = OnnxRuntimeSession(std::as_bytes(std::span(bytes)), {}).run({{"x", x}});
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kDeviceMissing) GTEST_SKIP() << error.what();
    throw;
  }
  const Tensor expected = run_graph(lowered, {{"x", x}}).at("y");
  ASSERT_EQ(actual.at(0).dtype(), DType::kFloat32);
  for (std::size_t i = 0; i < 64U * 64U; ++i) {
    ASSERT_FLOAT_EQ(actual[0].as<float>()[i], expected.as<float>()[i]) << i;
  }
}

TEST(Calibrate, the_manifest_keeps_the_magnitudes) {
  const Calibration kept{{{"a", 1.5F}, {"b", std::numeric_limits<float>::infinity()}}, {"c"}, "2 pictures"};
  EXPECT_EQ(parse_magnitudes(to_json(kept), "manifest.json"), (Magnitudes{{"a", 1.5F}}));
  for (const char* wrong : {"[]", "{}", R"({"magnitudes": 3})", R"({"magnitudes": {"a": "b"}})"}) {
    try {
      parse_magnitudes(nlohmann::json::parse(wrong), "manifest.json");
      ADD_FAILURE() << "took " << wrong;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << wrong;
      EXPECT_EQ(error.where(), "manifest.json");
    }
  }
}

TEST(Calibrate, what_is_not_worth_it_is_left_as_it_is) {
  Calibration calibration{{{"a", 1.5F}, {"b", 2.0F}}, {}, "2 pictures", false};
  EXPECT_EQ(leave_wide(calibration, {{"gpu", "a GPU"}}), 0U);
  const nlohmann::json facts = {
      {"products", {{"groups", nlohmann::json::array()}, {"not_worth_it", {"b", "unknown"}}}}};
  EXPECT_EQ(leave_wide(calibration, facts), 1U);
  EXPECT_EQ(calibration.magnitudes, (Magnitudes{{"a", 1.5F}}));
  EXPECT_EQ(calibration.left_wide, (std::vector<std::string>{"b"}));
  EXPECT_EQ(to_json(calibration)["left_wide"], nlohmann::json::array({"b"}));
}

TEST(Calibrate, pictures_of_a_folder) {
  const test::TemporaryFolder folder;
  for (const char* name : {"b.JPG", "a.png", "notes.txt"}) std::ofstream(folder.path() / name) << "x";
  const auto found = pictures_at(folder.path());
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].filename(), "a.png");
  EXPECT_EQ(pictures_at(folder.path() / "notes.txt").size(), 1U) << "a file that is named is taken";
  std::filesystem::create_directory(folder.path() / "empty");
  for (const char* name : {"empty", "missing"}) EXPECT_THROW(pictures_at(folder.path() / name), Error) << name;
}

TEST(Calibrate, only_the_target_cuda_quantises_products) {
  BuildPlan plan;
  set_precision(plan, "fp8");
  plan.target = "openvino";
  EXPECT_FALSE(quantizes_products(plan));
  plan.target = "cuda";
  EXPECT_TRUE(quantizes_products(plan));
  EXPECT_STREQ(precision_name(plan), "fp8");
  set_precision(plan, "tf32");
  EXPECT_FALSE(quantizes_products(plan));
  EXPECT_STREQ(precision_name(plan), "tf32");
}

}  // namespace
}  // namespace pajamas

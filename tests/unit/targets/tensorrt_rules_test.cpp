// What the target `tensorrt` decides without its library: SM names, which graphs it takes for which GPU, shape ranges,
// translated messages, and trtexec's options.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/thrown_by.h"
#include "targets/registry.h"
#include "targets/shape_profiles.h"
#include "targets/tensorrt/messages.h"
#include "targets/tensorrt/sm.h"
#include "targets/tensorrt/support.h"
#include "targets/tensorrt/trtexec_options.h"
#include "unit/targets/tensorrt_models.h"

namespace pajamas::tensorrt {
namespace {

using test::thrown_by;
using testing::conv_model;
using ::testing::ElementsAre;
using testing::fixed;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::matmul_model;
using testing::model_of;
using testing::node;
using ::testing::SizeIs;
using testing::value;

TEST(TensorRtSm, Names) {
  for (const char* text : {"sm86", "sm_86", "SM86", "86", "8.6", "compute_86"}) EXPECT_EQ(parse_sm(text), 86) << text;
  EXPECT_EQ(parse_sm("12.0"), 120);
  EXPECT_EQ(parse_sm("sm121"), 121);
  for (const char* text : {"", "sm", "rtx4090", "8.", ".6", "8.66", "1.2.0", "sm8", "-86", "8600", "0.9", "86 "}) {
    EXPECT_EQ(thrown_by([&] { parse_sm(text); }).kind(), ErrorKind::kUsage) << text;
  }
  EXPECT_THAT(parse_rtx_sms(std::vector<std::string>{"89", "sm86", "8.9"}), ElementsAre(86, 89));
  EXPECT_THAT(parse_rtx_sms(std::vector<std::string>{"all"}), ElementsAre(75, 80, 86, 89, 120, 121));
}

TEST(TensorRtSm, DataCentreGpusAreSentElsewhere) {
  for (const char* text : {"sm90", "10.0", "sm103"}) {
    const Error error = thrown_by([&] { parse_rtx_sms(std::vector<std::string>{text}); });
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.message(), HasSubstr("no target"));
    EXPECT_THAT(error.remedy(), HasSubstr("--target cuda"));
    EXPECT_THAT(error.remedy(), HasSubstr("TensorRT 11"));
  }
  EXPECT_THAT(thrown_by([] { parse_rtx_sms(std::vector<std::string>{"87"}); }).remedy(), HasSubstr("sm86"));
}

TEST(TensorRtPlan, Resolve) {
  BuildPlan plan;
  plan.target = "tensorrt";
  const Target& target = find_target("tensorrt");
  EXPECT_EQ(target.resolve(plan).precision, Precision::kFp16);
  EXPECT_THAT(target.resolve(plan).gpu_sms, ElementsAre("sm86", "sm89", "sm120"));
  plan.gpu_sms = {"7.5"};
  plan.precision = Precision::kBf16;
  EXPECT_EQ(thrown_by([&] { target.resolve(plan); }).kind(), ErrorKind::kUnsupported);
  plan.precision = Precision::kFp32;
  EXPECT_THAT(target.resolve(plan).gpu_sms, ElementsAre("sm75"));
  EXPECT_EQ(target.graph_precision(plan), Precision::kFp32);
}

TEST(TensorRtSupport, TypesBySm) {
  struct Case {
    Model model;
    std::vector<int> sms;
    bool is_supported;
  };
  const auto cast_to = [](DType dtype) {
    Node quantise = node("QuantizeLinear", {"x", "s", "z"}, {"q"}, "q0");
    Model model = model_of({value("x", DType::kFloat16, fixed({4, 8}))},
                           {quantise, node("DequantizeLinear", {"q", "s", "z"}, {"y"}, "dq0")},
                           {value("y", DType::kFloat16, fixed({4, 8}))});
    model.graph.set_initializer("z", Tensor::copy_of({dtype, Shape{}, reinterpret_cast<const std::byte*>("\0\0\0\0")}));
    return model;
  };
  const std::vector<Case> cases = {
      {conv_model(DType::kFloat32), {75}, true},
      {matmul_model(DType::kFloat32), {75}, false},
      {matmul_model(DType::kFloat32), {75, 89}, false},
      {matmul_model(DType::kFloat32), {80, 86, 89, 120, 121}, true},
      {matmul_model(DType::kFloat16), {75, 80, 86, 89, 120}, true},
      {matmul_model(DType::kBfloat16), {75}, false},
      {conv_model(DType::kBfloat16), {75}, false},
      {conv_model(DType::kBfloat16), {80, 86}, true},
      {cast_to(DType::kInt8), {75}, true},
      {cast_to(DType::kFloat8E4M3Fn), {86, 89}, false},
      {cast_to(DType::kFloat8E4M3Fn), {89, 120}, true},
      {cast_to(DType::kFloat8E5M2), {120}, false},
      {cast_to(DType::kInt4), {75}, false},
      {cast_to(DType::kInt4), {86}, true},
      {cast_to(DType::kFloat4E2M1), {89}, false},
      {cast_to(DType::kFloat4E2M1), {120}, true},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Support support = check_support(cases[i].model, cases[i].sms);
    EXPECT_EQ(support.is_supported, cases[i].is_supported) << "case " << i << ": " << support.reason;
    if (!support) {
      EXPECT_FALSE(support.remedy.empty());
    }
  }
}

TEST(TensorRtSupport, TheTypeIsFollowedThroughTheGraph) {
  // float32 only in the middle: Cast, then MatMul.
  Node cast = node("Cast", {"x"}, {"c"}, "cast0");
  cast.set_attribute("to", std::int64_t{1});
  const Model model = model_of({value("x", DType::kFloat16, fixed({4, 4}))},
                               {cast, node("Relu", {"c"}, {"r"}, "relu0"), node("MatMul", {"r", "r"}, {"y"}, "mm0")},
                               {value("y", DType::kFloat32, fixed({4, 4}))});
  const std::vector<int> old{75};
  EXPECT_THAT(check_support(model, old).reason, HasSubstr("mm0"));
}

TEST(TensorRtSupport, OperatorsThatNeverBuild) {
  const std::vector<int> sms{89};
  for (const char* type : {"NonMaxSuppression", "NonZero", "RoiAlign", "BitwiseAnd", "HannWindow", "SequenceAt",
                           "QLinearConv", "StringNormalizer", "OptionalHasElement", "Unique"}) {
    const Support support =
        check_support(model_of({value("x", DType::kFloat32, fixed({4}))}, {node(type, {"x"}, {"y"}, "the_node")},
                               {value("y", DType::kFloat32, fixed({4}))}),
                      sms);
    EXPECT_FALSE(support) << type;
    EXPECT_THAT(support.reason, HasSubstr(type));
    EXPECT_THAT(support.reason, HasSubstr("the_node"));
    EXPECT_FALSE(support.remedy.empty());
  }
  // The same inside a body.
  auto body = std::make_shared<Graph>();
  body->nodes.push_back(node("Det", {"x"}, {"b"}, "inner"));
  body->outputs.push_back(value("b", DType::kFloat32, {}));
  Node branch = node("If", {"x"}, {"y"}, "if0");
  branch.set_attribute("then_branch", body);
  EXPECT_THAT(
      check_support(model_of({value("x", DType::kBool, {})}, {branch}, {value("y", DType::kFloat32, {})}), sms).reason,
      HasSubstr("inner"));
}

TEST(TensorRtSupport, InterfaceTypes) {
  const std::vector<int> sms{89};
  for (const DType dtype : {DType::kFloat64, DType::kString, DType::kUint16, DType::kComplex64, DType::kInt16}) {
    const Support support =
        check_support(model_of({value("x", dtype, fixed({4}))}, {node("Identity", {"x"}, {"y"}, "id")},
                               {value("y", dtype, fixed({4}))}),
                      sms);
    EXPECT_FALSE(support) << to_string(dtype);
    EXPECT_THAT(support.reason, HasSubstr(to_string(dtype)));
  }
}

TEST(TensorRtProfiles, DefaultsAndNames) {
  Model model = conv_model(DType::kFloat16, 0);
  const auto profiles = resolve_profiles(model, {});
  ASSERT_THAT(profiles, SizeIs(1));
  EXPECT_EQ(profiles[0].min, Shape({1, 3, 16, 16}));
  EXPECT_EQ(profiles[0].max, Shape({8, 3, 16, 16}));
  EXPECT_THAT(resolve_profiles(conv_model(DType::kFloat16), {}), IsEmpty());
  // An open height cannot be guessed.
  (*model.graph.inputs[0].type->shape)[2] = Dimension::named("height");
  const Error error = thrown_by([&] { resolve_profiles(model, {}); });
  EXPECT_EQ(error.kind(), ErrorKind::kUsage);
  EXPECT_THAT(error.message(), HasSubstr("axis 2"));
  EXPECT_THAT(error.remedy(), HasSubstr("--shapes x:MIN,OPT,MAX"));
  // One name, two ranges.
  Model two = conv_model(DType::kFloat16, 0);
  two.graph.inputs.push_back(value("z", DType::kFloat16, {Dimension::named("batch")}));
  EXPECT_THAT(thrown_by([&] {
                resolve_profiles(two, {{"x", {1, 3, 16, 16}, {1, 3, 16, 16}, {4, 3, 16, 16}}, {"z", {1}, {1}, {8}}});
              }).message(),
              HasSubstr("'batch'"));
  EXPECT_THROW(resolve_profiles(two, {{"z", {1}, {1}, {8}}, {"z", {1}, {1}, {8}}}), Error);
}

TEST(TensorRtMessages, KnownTexts) {
  const auto why = [](const char* text) {
    const auto known = translate(text);
    return known ? known->why : std::string("unknown");
  };
  EXPECT_EQ(
      why("IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:1500: run_passes] Cannot compile for "
          "target(s) sm75, sm86, because the model contains HW-specific datatypes: fp8_e4m3. In compileGraph at "
          "/_src/x.cpp:2012)"),
      "sm75, sm86 cannot compute the type fp8_e4m3 that the model uses");
  EXPECT_THAT(why("(topk0: K exceeds the maximum value allowed (3840). In processCheck at /_src/a.cpp:1)"),
              HasSubstr("3840"));
  EXPECT_THAT(why("creator && \"Plugin not found, are the plugin name, version, and namespace correct?\""),
              HasSubstr("does not know this operator"));
  EXPECT_THAT(why("false"), HasSubstr("no implementation"));
  EXPECT_THAT(why("(antialias == 0) && \"Antialiasing is not supported currently.\""), HasSubstr("Antialiasing"));
  EXPECT_THAT(why("Profile kMAX values are not self-consistent. c: tensor volume exceeds 1099511627776, dimensions"),
              HasSubstr("too large"));
  EXPECT_EQ(why("some words nobody has seen before"), "unknown");
}

TEST(TensorRtMessages, PlainText) {
  EXPECT_EQ(
      plain_text("IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (something is wrong. In validate "
                 "at /_src/optimizer/api/network.cpp:4023)"),
      "API Usage Error (something is wrong.");
  EXPECT_EQ(plain_text("two\nlines\n"), "two lines");
  EXPECT_EQ(
      plain_text("Invalid Node - add0\nITensor::getDimensions: Error Code 4: API Usage Error (add0: wrong. In "
                 "validateTypes at /_src/a/b.cpp:40)\n[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda "
                 "Runtime (In catchCudaError at /_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver "
                 "version is insufficient for CUDA runtime version))"),
      "API Usage Error (add0: wrong.");
}

TEST(TensorRtMessages, UnknownTextsPassThroughWithTheirNode) {
  const Model model = conv_model(DType::kFloat16);
  BuilderOutcome outcome;
  outcome.stage = BuildStage::kBuilding;
  outcome.failure = "TensorRT could not build the engine";
  outcome.failure_kind = ErrorKind::kUnsupported;
  outcome.child.exit_code = 1;
  outcome.messages = {{Severity::kWarning, "first a warning"},
                      {Severity::kError, "Cuda Runtime (cudaError 35: CUDA driver version is insufficient)"},
                      {Severity::kError, "strange thing at {conv0 + relu0}"}};
  const Error error = build_error(outcome, model, "my.onnx", {});
  EXPECT_EQ(error.where(), "my.onnx");
  EXPECT_THAT(error.message(), HasSubstr("strange thing"));
  EXPECT_THAT(error.message(), HasSubstr("conv0"));
  EXPECT_THAT(notable_warnings(outcome), ElementsAre("first a warning"));
}

TEST(TensorRtMessages, TheNodeIsTheLongestNameThatStandsAlone) {
  Model model = model_of(
      {},
      {node("Relu", {"a"}, {"b"}, "/m/act"), node("Relu", {"b"}, {"c"}, "/m/act/Relu"), node("Relu", {"c"}, {"d"}, "")},
      {});
  EXPECT_EQ(find_named_node(model, "at {/m/act/Relu + x}")->name, "/m/act/Relu");
  EXPECT_EQ(find_named_node(model, "at '/m/act'")->name, "/m/act");
  EXPECT_EQ(find_named_node(model, "at /m/act_0 has no runners")->name, "/m/act");
  EXPECT_EQ(find_named_node(model, "at /m/activation"), nullptr);
}

TrtexecOptions trtexec(std::vector<std::string> arguments) { return parse_trtexec_options(arguments); }

TEST(TensorRtTrtexec, UsualCommandLine) {
  const TrtexecOptions options =
      trtexec({"--onnx=m.onnx", "--saveEngine=m.engine", "--fp16", "--minShapes=in:1x3x8x8", "--optShapes=in:2x3x8x8",
               "--maxShapes=in:4x3x8x8", "--memPoolSize=workspace:2G", "--computeCapabilities=86,8.9",
               "--skipInference", "--builderOptimizationLevel=3", "--verbose"});
  EXPECT_EQ(options.onnx, "m.onnx");
  EXPECT_EQ(options.save_engine, "m.engine");
  EXPECT_EQ(options.plan.precision, Precision::kFp16);
  ASSERT_THAT(options.plan.profiles, SizeIs(1));
  EXPECT_EQ(options.plan.profiles[0].opt, Shape({2, 3, 8, 8}));
  EXPECT_EQ(options.workspace_bytes, std::uint64_t{2} << 30);
  EXPECT_THAT(options.plan.gpu_sms, ElementsAre("86", "8.9"));
  EXPECT_EQ(options.optimization_level, 3);
  EXPECT_FALSE(options.has_inference);
  EXPECT_TRUE(options.is_verbose);
  EXPECT_THAT(options.notes, IsEmpty());
}

TEST(TensorRtTrtexec, DefaultsAreTrtexecs) {
  const TrtexecOptions options = trtexec({"--loadEngine=m.engine"});
  EXPECT_EQ(options.plan.precision, Precision::kFp32);
  EXPECT_EQ(options.min_iterations, 10);
  EXPECT_EQ(options.duration, std::chrono::seconds(3));
  EXPECT_EQ(options.warm_up, std::chrono::milliseconds(200));
  EXPECT_FALSE(options.use_cuda_graph);
}

TEST(TensorRtTrtexec, Shapes) {
  // Given shapes fill the missing ones; names may hold colons and be quoted.
  const auto only_max = trtexec({"--onnx=m", "--maxShapes=a:0:4x2,'b,c':7"});
  ASSERT_THAT(only_max.plan.profiles, SizeIs(2));
  EXPECT_EQ(only_max.plan.profiles[0].input, "a:0");
  EXPECT_EQ(only_max.plan.profiles[0].min, Shape({4, 2}));
  EXPECT_EQ(only_max.plan.profiles[1].input, "b,c");
  const auto only_shapes = trtexec({"--onnx=m", "--shapes=a:4x2"});
  EXPECT_EQ(only_shapes.plan.profiles[0].max, Shape({4, 2}));
  for (const char* text : {"--shapes=a", "--shapes=:1", "--shapes=a:1xx2", "--shapes=a:-1", "--shapes=a:1,a:2",
                           "--shapes=a:99999999999999999999", "--shapes="}) {
    EXPECT_EQ(thrown_by([&] { trtexec({"--onnx=m", text}); }).kind(), ErrorKind::kUsage) << text;
  }
}

TEST(TensorRtTrtexec, NothingIsIgnoredInSilence) {
  EXPECT_EQ(thrown_by([] { trtexec({"--onnx=m", "--noSuchOption"}); }).kind(), ErrorKind::kUsage);
  EXPECT_EQ(thrown_by([] { trtexec({"--onnx=m", "m.onnx"}); }).kind(), ErrorKind::kUsage);
  EXPECT_EQ(thrown_by([] { trtexec({}); }).kind(), ErrorKind::kUsage);
  EXPECT_EQ(thrown_by([] { trtexec({"--onnx=m", "--loadEngine=e"}); }).kind(), ErrorKind::kUsage);
  EXPECT_EQ(thrown_by([] { trtexec({"--loadEngine=e", "--saveEngine=f"}); }).kind(), ErrorKind::kUsage);
  EXPECT_EQ(thrown_by([] { trtexec({"--onnx=m", "--fp16", "--bf16"}); }).kind(), ErrorKind::kUsage);
  EXPECT_EQ(thrown_by([] { trtexec({"--onnx=m", "--fp16=1"}); }).kind(), ErrorKind::kUsage);
  EXPECT_EQ(thrown_by([] { trtexec({"--onnx=m", "--iterations=0"}); }).kind(), ErrorKind::kUsage);
  EXPECT_EQ(thrown_by([] { trtexec({"--onnx=m", "--duration=soon"}); }).kind(), ErrorKind::kUsage);
  for (const char* option : {"--best", "--useDLACore=0", "--calib=c", "--layerPrecisions=a:fp16", "--refit"}) {
    const Error error = thrown_by([&] { trtexec({"--onnx=m", option}); });
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported) << option;
    EXPECT_FALSE(error.message().empty());
  }
  EXPECT_THAT(trtexec({"--onnx=m", "--timingCacheFile=t", "--stronglyTyped"}).notes,
              ElementsAre(HasSubstr("--timingCacheFile changes nothing"), HasSubstr("--stronglyTyped")));
  EXPECT_EQ(trtexec({"--onnx=m", "--int8"}).needs_quantised_model, "--int8");
  EXPECT_EQ(trtexec({"--onnx=m", "--workspace=64"}).workspace_bytes, std::uint64_t{64} << 20);
  EXPECT_THAT(trtexec_help(), HasSubstr("--saveEngine"));
}

}  // namespace
}  // namespace pajamas::tensorrt

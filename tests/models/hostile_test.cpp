// Hostile input through the real program: damaged models, vendor code that crashes or never returns, missing libraries,
// damaged manifests. Each ends with a documented exit code, a message that names the file, and nothing left behind.
// What single readers refuse is tested in tests/unit; the ordinary faults of the command line in cli_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <span>
#include <string_view>

#include "base/digest.h"
#include "graph/graph.h"
#include "io/onnx_writer.h"
#include "support/program.h"

namespace pajamas::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::AnyOf;
using testing::Eq;
using testing::HasSubstr;
using testing::Not;

Node node(const std::string& op_type, std::vector<std::string> inputs, std::vector<std::string> outputs) {
  Node result;
  result.op_type = op_type;
  result.name = op_type + "_" + outputs[0];
  result.inputs = std::move(inputs);
  result.outputs = std::move(outputs);
  return result;
}

/// A model of one input x and one output y, both of `dtype`.
Model model_of(DType dtype, std::vector<std::int64_t> in, std::vector<std::int64_t> out, std::vector<Node> nodes) {
  Model model;
  model.ir_version = 8;
  model.opset_imports = {{"", 17}};
  model.graph.name = "hostile";
  const auto value = [&](const std::string& name, const std::vector<std::int64_t>& extents) {
    ValueType type;
    type.dtype = dtype;
    type.shape.emplace();
    for (const std::int64_t extent : extents) type.shape->push_back(Dimension::known(extent));
    return ValueInfo{name, type, {}, {}};
  };
  model.graph.inputs.push_back(value("x", in));
  model.graph.outputs.push_back(value("y", out));
  model.graph.nodes = std::move(nodes);
  return model;
}

template <typename T>
Tensor tensor_of(DType dtype, Shape shape, const std::vector<T>& values) {
  Tensor tensor(dtype, shape);
  std::memcpy(tensor.mutable_bytes().data(), values.data(), values.size() * sizeof(T));
  return tensor;
}

/// Conv, Relu, pooling: the smallest model with weights, attributes and a fixed shape.
Model conv_model() {
  Model model =
      model_of(DType::kFloat32, {1, 2, 6, 6}, {1, 3, 1, 1},
               {node("Conv", {"x", "w"}, {"c"}), node("Relu", {"c"}, {"r"}), node("GlobalAveragePool", {"r"}, {"y"})});
  std::vector<float> weights(54);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 7) - 3.0F;
  model.graph.set_initializer("w", tensor_of(DType::kFloat32, {3, 2, 3, 3}, weights));
  return model;
}

/// 20,000 of them make OpenVINO work for minutes, 3,000 make TensorRT overflow an ordinary stack.
Model add_chain(int length) {
  std::vector<Node> nodes;
  for (int i = 0; i < length; ++i) {
    nodes.push_back(node("Add", {i == 0 ? "x" : "t" + std::to_string(i - 1), "x"},
                         {i == length - 1 ? "y" : "t" + std::to_string(i)}));
  }
  return model_of(DType::kFloat32, {4}, {4}, std::move(nodes));
}

class HostileTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directory(folder_ / "out"); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  bool is_out_empty() const { return fs::is_empty(folder_ / "out"); }
  ProgramRun build(const std::string& model, const std::string& target, std::vector<std::string> more = {},
                   const std::string& prefix = {}) const {
    std::vector<std::string> arguments = {"build", path(model), "--target",    target,  "--task",
                                          "none",  "-o",        path("out/b"), "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(PAJAMAS_PROGRAM, arguments, prefix);
  }
  /// A build that may work or be refused, but neither crashes nor leaves anything when it fails.
  void expect_civil(const std::string& model, const std::string& target, std::vector<std::string> more = {}) const {
    const ProgramRun run = build(model, target, std::move(more));
    EXPECT_THAT(run.exit_code, AnyOf(Eq(0), Eq(3), Eq(4))) << run.errors;
    if (run.exit_code == 0) {
      fs::remove_all(folder_ / "out/b");
    } else {
      EXPECT_THAT(run.errors, HasSubstr(model));
      EXPECT_EQ(schema_violations(run.json(), "error"), "");
      EXPECT_NE(run.json()["error"]["remedy"], "") << run.errors;
    }
    EXPECT_TRUE(is_out_empty());
  }
  TemporaryFolder folder_;
};

TEST_F(HostileTest, TruncatedModelsAreRefused) {
  write_onnx(conv_model(), folder_ / "whole.onnx");
  const std::string whole = read_file(folder_ / "whole.onnx");
  for (std::size_t i = 1; i < 12; ++i) {
    write_file(folder_ / "cut.onnx", std::string_view(whole).substr(0, whole.size() * i / 12 - 1));
    const ProgramRun run = build("cut.onnx", "openvino");
    EXPECT_EQ(run.exit_code, 4) << run.errors;
    EXPECT_THAT(run.errors, HasSubstr("cut.onnx"));
    EXPECT_TRUE(is_out_empty());
  }
}

TEST_F(HostileTest, MutatedModelsNeitherCrashNorLeaveAnything) {
  write_onnx(conv_model(), folder_ / "whole.onnx");
  const std::string whole = read_file(folder_ / "whole.onnx");
  std::mt19937 generator(20);
  for (int i = 0; i < 16; ++i) {
    SCOPED_TRACE("mutation " + std::to_string(i));
    std::string bytes = whole;
    for (int flip = 0; flip < 1 + i % 3; ++flip) {
      bytes[generator() % bytes.size()] ^= static_cast<char>(1U << (generator() % 8));
    }
    write_file(folder_ / "mutated.onnx", bytes);
    expect_civil("mutated.onnx", i % 8 == 7 ? "tensorrt" : "openvino");
  }
}

TEST_F(HostileTest, ACrashInsideALibraryIsAnErrorOfTheModel) {
  // OpenVINO folds the division and dies of SIGFPE: the lowest integer divided by -1, and by 0.
  Model model = model_of(DType::kInt32, {4}, {4}, {node("Div", {"a", "z"}, {"b"}), node("Add", {"x", "b"}, {"y"})});
  model.graph.set_initializer("a", tensor_of<std::int32_t>(DType::kInt32, {4}, {INT32_MIN, 1, 2, 3}));
  model.graph.set_initializer("z", tensor_of<std::int32_t>(DType::kInt32, {4}, {-1, 0, 1, 2}));
  write_onnx(model, folder_ / "divides.onnx");
  const ProgramRun run = build("divides.onnx", "openvino");
  EXPECT_THAT(run.exit_code, AnyOf(Eq(3), Eq(4))) << run.errors;
  EXPECT_THAT(run.errors, HasSubstr("divides.onnx"));
  EXPECT_EQ(schema_violations(run.json(), "error"), "");
  EXPECT_TRUE(is_out_empty());
}

TEST_F(HostileTest, AStepThatNeverEndsIsStoppedAtTheTimeLimit) {
  write_onnx(add_chain(20'000), folder_ / "chain.onnx");
  const ProgramRun run = build("chain.onnx", "openvino", {"--time-limit", "1"});
  EXPECT_EQ(run.exit_code, 3) << run.errors;
  EXPECT_THAT(run.errors, HasSubstr("--time-limit"));
  EXPECT_EQ(schema_violations(run.json(), "error"), "");
  EXPECT_TRUE(is_out_empty());
}

TEST_F(HostileTest, LongChainsOfElementwiseOperatorsBuild) {
  write_onnx(add_chain(1000), folder_ / "chain.onnx");  // With its fusing of kernels OpenVINO needs minutes.
  const ProgramRun run = build("chain.onnx", "openvino", {"--time-limit", "30"});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
}

TEST_F(HostileTest, CtrlCEndsALibraryThatDoesNotListen) {
  write_onnx(add_chain(20'000), folder_ / "chain.onnx");
  const ProgramRun run =
      run_program("true", {},
                  "set -m; " + shell_quoted(PAJAMAS_PROGRAM) + " build " + shell_quoted(path("chain.onnx")) +
                      " --target openvino --task none -o " + shell_quoted(path("out/b")) +
                      " & sleep 2; kill -INT $!; wait $!; code=$?; test $code -eq 130 && ");
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_TRUE(is_out_empty());
}

TEST_F(HostileTest, MissingLibrariesExitWith5AndTheCure) {
  write_onnx(conv_model(), folder_ / "good.onnx");
  const ProgramRun no_tensorrt = build("good.onnx", "tensorrt", {}, "export PAJAMAS_TENSORRT_LIBRARY=/nonexistent; ");
  EXPECT_EQ(no_tensorrt.exit_code, 5) << no_tensorrt.errors;
  EXPECT_EQ(schema_violations(no_tensorrt.json(), "error"), "");
  EXPECT_THAT(no_tensorrt.errors, HasSubstr("PAJAMAS_TENSORRT_LIBRARY"));
  write_file(folder_ / "garbage.so", "this is no library");
  const ProgramRun no_reference = build(
      "good.onnx", "openvino", {}, "export PAJAMAS_ONNXRUNTIME_LIBRARY=" + shell_quoted(path("garbage.so")) + "; ");
  EXPECT_EQ(no_reference.exit_code, 5) << no_reference.errors;
  EXPECT_EQ(schema_violations(no_reference.json(), "error"), "");
  EXPECT_THAT(no_reference.errors, HasSubstr("./dev setup"));
  EXPECT_TRUE(is_out_empty());
}

TEST_F(HostileTest, NoCommandDiesOfALibraryThatCrashesOrHangs) {
  write_onnx(conv_model(), folder_ / "good.onnx");
  ASSERT_EQ(build("good.onnx", "openvino").exit_code, 0);
  const std::string tensorrt_bundle = path("tensorrt");
  ASSERT_EQ(run_program(PAJAMAS_PROGRAM, {"build", path("good.onnx"), "--target", "tensorrt", "--gpu", "sm86", "--task",
                                          "none", "-o", tensorrt_bundle})
                .exit_code,
            0);
  const std::string library = shell_quoted(PAJAMAS_HOSTILE_LIBRARY);
  const std::string temporary = "export TMPDIR=" + shell_quoted(path("out")) + "; ";
  fs::rename(folder_ / "out/b", folder_ / "b");
  const std::vector<std::vector<std::string>> commands = {
      {"verify", path("b"), "--time-limit", "1"},
      {"bench", path("b"), "--seconds", "0.1", "--peer", "onnxruntime", "--time-limit", "1"},
      {"bench", tensorrt_bundle, "--time-limit", "1"},
      {"trtexec", "--onnx=" + path("good.onnx"), "--saveEngine=" + path("out/e.engine"), "--timeLimit=1"},
      {"trtexec", "--loadEngine=" + (fs::path(tensorrt_bundle) / "model.engine").string(), "--timeLimit=1",
       "--duration=0", "--warmUp=0"},
      {"build", path("good.onnx"), "--target", "openvino", "-o", path("out/c"), "--time-limit", "1"}};
  for (const char* how : {"crash", "hang"}) {
    for (const std::vector<std::string>& command : commands) {
      if (std::string_view(how) == "hang" && command[0] != "verify") continue;  // 6 s each
      SCOPED_TRACE(how + (" " + command[0]) + " " + command[1]);
      std::vector<std::string> arguments = command;
      arguments.emplace_back("--json");
      const bool is_engine = command[1] == tensorrt_bundle || command[1].starts_with("--loadEngine");
      const ProgramRun run = run_program(PAJAMAS_PROGRAM, arguments,
                                         temporary + "export PAJAMAS_HOSTILE=" + how + " PAJAMAS_" +
                                             (is_engine ? "TENSORRT" : "ONNXRUNTIME") + "_LIBRARY=" + library + "; ");
      EXPECT_EQ(run.exit_code, 3) << run.errors;
      EXPECT_THAT(run.errors, HasSubstr(std::string_view(how) == "hang" ? "was stopped" : "SIGSEGV"));
      EXPECT_EQ(schema_violations(run.json(), "error"), "");
      EXPECT_NE(run.json()["error"]["remedy"], "");
      EXPECT_TRUE(is_out_empty());
    }
  }
  const ProgramRun doctor = run_program(PAJAMAS_PROGRAM, {"doctor"},
                                        "export PAJAMAS_HOSTILE=crash PAJAMAS_ONNXRUNTIME_LIBRARY=" + library + "; ");
  EXPECT_EQ(doctor.exit_code, 3) << doctor.errors;
}

TEST_F(HostileTest, OrdinaryLibrariesAreNotTakenForAVendors) {
  const fs::path ordinary = "/lib/x86_64-linux-gnu/libm.so.6";
  if (!fs::exists(ordinary)) GTEST_SKIP() << "no libm where Debian has it";
  write_onnx(conv_model(), folder_ / "good.onnx");
  const ProgramRun tensorrt =
      build("good.onnx", "tensorrt", {}, "export PAJAMAS_TENSORRT_LIBRARY=" + ordinary.string() + "; ");
  EXPECT_EQ(tensorrt.exit_code, 3) << tensorrt.errors;
  EXPECT_THAT(tensorrt.errors, HasSubstr("not a TensorRT library"));
  const ProgramRun reference =
      build("good.onnx", "openvino", {}, "export PAJAMAS_ONNXRUNTIME_LIBRARY=" + ordinary.string() + "; ");
  EXPECT_EQ(reference.exit_code, 5) << reference.errors;
  EXPECT_THAT(reference.errors, HasSubstr("not ONNX Runtime"));
  EXPECT_TRUE(is_out_empty());
}

TEST_F(HostileTest, AnUnknownCommandNamesTheNearest) {
  const ProgramRun slip = run_program(PAJAMAS_PROGRAM, {"biuld", "x.onnx"});
  EXPECT_EQ(slip.exit_code, 2);
  EXPECT_THAT(slip.errors, AllOf(HasSubstr("unknown command 'biuld'"), HasSubstr("'build' meant")));
  const ProgramRun other = run_program(PAJAMAS_PROGRAM, {"frobnicate"});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.errors, AllOf(HasSubstr("'frobnicate'"), Not(HasSubstr("meant"))));
}

TEST_F(HostileTest, HugeShapesAndBatchesAreRefused) {
  Model model = model_of(DType::kFloat32, {1, 4}, {1, 4}, {node("Relu", {"x"}, {"y"})});
  for (ValueInfo* value : {&model.graph.inputs[0], &model.graph.outputs[0]}) {
    value->type->shape->front() = Dimension::named("batch");
  }
  write_onnx(model, folder_ / "open.onnx");
  for (const char* shape : {"x:1x4,1x4,1099511627776x4", "x:1x4x4", "x:1099511627776x4"}) {
    for (const char* target : {"openvino", "tensorrt"}) {
      const ProgramRun run = build("open.onnx", target, {"--shapes", shape});
      EXPECT_THAT(run.exit_code, AnyOf(Eq(2), Eq(3))) << target << shape << run.errors;
      EXPECT_THAT(run.errors, HasSubstr("shape"));
      EXPECT_TRUE(is_out_empty());
    }
  }
  ASSERT_EQ(build("open.onnx", "openvino").exit_code, 0);
  const ProgramRun bench = run_program(PAJAMAS_PROGRAM, {"bench", path("out/b"), "--batch", "1048577"});
  EXPECT_EQ(bench.exit_code, 2) << bench.errors;
}

TEST_F(HostileTest, AFullDiskNamesTheUsersFolder) {
  // A file size limit stands in for the full disk.
  const std::string model = PAJAMAS_DEPS_DIR "/models/efficientnet_lite0.onnx";
  for (const char* target : {"openvino", "tensorrt"}) {
    const ProgramRun run = run_program(PAJAMAS_PROGRAM, {"build", model, "--target", target, "-o", path("out/b")},
                                       "trap '' XFSZ; ulimit -f 2000; exec ");
    EXPECT_EQ(run.exit_code, 4) << run.errors;
    EXPECT_THAT(run.errors, AllOf(HasSubstr("out/b/model.onnx"), Not(HasSubstr(".partial-"))));
    EXPECT_TRUE(is_out_empty());
  }
}

TEST_F(HostileTest, AKilledBuildLeavesNoProcessAndTheNextOneCleansUp) {
  write_onnx(add_chain(3000), folder_ / "chain.onnx");
  write_onnx(conv_model(), folder_ / "good.onnx");
  for (const char* target : {"tensorrt", "openvino"}) {
    for (const char* delay : {"0.15", "0.6"}) {
      SCOPED_TRACE(std::string(target) + " killed after " + delay + " s");
      // All processes of the build have the folder's name in their arguments; the shell's own command line is a script.
      write_file(folder_ / "kill.sh", shell_quoted(PAJAMAS_PROGRAM) + " build " + path("chain.onnx") + " --target " +
                                          target + " --task none -o " + path("out/b") + " & sleep " + delay +
                                          "; kill -9 $!; wait $! 2>/dev/null; sleep 0.3; for p in /proc/[0-9]*; do "
                                          "case \"$(readlink $p/exe)\" in */pajamas) grep -lsa " +
                                          path("out") + " $p/cmdline;; esac; done; true\n");
      const ProgramRun killed = run_program("sh", {path("kill.sh")});
      EXPECT_EQ(killed.output, "") << "processes that stayed";
      const ProgramRun next = build("good.onnx", target);
      EXPECT_EQ(next.exit_code, 0) << next.errors;
      fs::remove_all(folder_ / "out/b");
      EXPECT_TRUE(is_out_empty());
    }
  }
}

TEST_F(HostileTest, TwoTensorRtBuildsIntoOneFolder) {
  write_onnx(conv_model(), folder_ / "good.onnx");
  const std::string build = shell_quoted(PAJAMAS_PROGRAM) + " build " + shell_quoted(path("good.onnx")) +
                            " --target tensorrt --gpu sm89 --task none -o " + shell_quoted(path("out/b")) +
                            " >/dev/null";
  const ProgramRun run = run_program("true", {}, build + " & a=$!; " + build + " & b=$!; wait $a && wait $b && ");
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_TRUE(run_program(PAJAMAS_PROGRAM, {"inspect", path("out/b"), "--json"}).json()["intact"].get<bool>());
  fs::remove_all(folder_ / "out/b");
  EXPECT_TRUE(is_out_empty());
}

TEST_F(HostileTest, DamagedTensorRtBundlesAreNamed) {
  write_onnx(conv_model(), folder_ / "good.onnx");
  ASSERT_EQ(build("good.onnx", "tensorrt", {"--gpu", "sm89"}).exit_code, 0);
  for (const char* name : {"model.engine", "model.onnx"}) {
    const std::string whole = read_file(folder_ / "out/b" / name);
    for (std::size_t i = 0; i < 6; ++i) {
      std::string bytes = whole;
      bytes[i * (bytes.size() - 1) / 5] ^= 4;
      if (i == 3) bytes.resize(bytes.size() / 2);
      write_file(folder_ / "out/b" / name, bytes);
      const ProgramRun run = run_program(PAJAMAS_PROGRAM, {"verify", path("out/b"), "--json"});
      EXPECT_EQ(run.exit_code, 4) << run.errors;
      EXPECT_THAT(run.errors, HasSubstr(name));
    }
    write_file(folder_ / "out/b" / name, whole);
  }
}

TEST_F(HostileTest, BundlesOfAnotherTensorRtVersionAreNamedByVerify) {
  write_onnx(conv_model(), folder_ / "good.onnx");
  ASSERT_EQ(build("good.onnx", "tensorrt", {"--gpu", "sm86"}).exit_code, 0);
  // Another version in the engine's head, where the library writes it, with the digest to match.
  const fs::path engine = folder_ / "out/b/model.engine";
  std::string bytes = read_file(engine);
  const std::string manifest = read_file(folder_ / "out/b/manifest.json");
  const auto digest = [&] { return sha256_hex(std::as_bytes(std::span(bytes.data(), bytes.size()))); };
  const std::string before = digest();
  bytes[25] = 9;
  write_file(engine, bytes);
  std::string changed = manifest;
  changed.replace(changed.find(before), before.size(), digest());
  write_file(folder_ / "out/b/manifest.json", changed);
  const ProgramRun run = run_program(PAJAMAS_PROGRAM, {"verify", path("out/b"), "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_EQ(schema_violations(run.json(), "verify"), "");
  ASSERT_EQ(run.json()["notes"].size(), 1U);
  EXPECT_THAT(run.json()["notes"][0].get<std::string>(),
              AllOf(HasSubstr("built by TensorRT for RTX 1.9."), HasSubstr("library here is 1."), HasSubstr("build")));
  EXPECT_THAT(run.json()["proof"]["model"]["summary"].get<std::string>(), HasSubstr("1.9."));
}

TEST_F(HostileTest, MutatedManifestsNeverCrash) {
  write_onnx(conv_model(), folder_ / "good.onnx");
  const ProgramRun built = build("good.onnx", "openvino");
  ASSERT_EQ(built.exit_code, 0) << built.errors;
  const std::string manifest = read_file(folder_ / "out/b/manifest.json");
  std::mt19937 generator(21);
  for (int i = 0; i < 20; ++i) {
    SCOPED_TRACE("mutation " + std::to_string(i));
    std::string bytes = manifest;
    if (i % 4 == 3) bytes.resize(generator() % bytes.size());
    if (!bytes.empty()) bytes[generator() % bytes.size()] ^= static_cast<char>(1U << (generator() % 8));
    write_file(folder_ / "out/b/manifest.json", bytes);
    const ProgramRun run = run_program(PAJAMAS_PROGRAM, {"bench", path("out/b"), "--seconds", "0.01", "--json"});
    EXPECT_THAT(run.exit_code, AnyOf(Eq(0), Eq(3), Eq(4), Eq(5))) << run.errors;
    if (run.exit_code != 0) {
      EXPECT_EQ(schema_violations(run.json(), "error"), "");
    }
  }
}

}  // namespace
}  // namespace pajamas::test

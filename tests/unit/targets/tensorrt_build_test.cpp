// Builds through the public interface of the target `tensorrt`, on a machine without a GPU: what must build builds,
// what cannot is refused with its reason and node, and nothing is ever left behind.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <fstream>
#include <thread>

#include "base/files.h"
#include "io/onnx_reader.h"
#include "io/onnx_writer.h"
#include "targets/registry.h"
#include "targets/tensorrt/builder_process.h"
#include "targets/tensorrt/compiler.h"
#include "targets/tensorrt/engine_file.h"
#include "targets/tensorrt/messages.h"
#include "unit/targets/tensorrt_models.h"

namespace pajamas::tensorrt {
namespace {

using testing::chain_model;
using ::testing::Contains;
using testing::conv_model;
using ::testing::ElementsAre;
using testing::fixed;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::matmul_model;
using testing::model_of;
using testing::node;
using testing::value;

namespace fs = std::filesystem;

class TensorRtBuild : public testing::FolderTest {
 protected:
  void SetUp() override {
    PAJAMAS_NEEDS_TENSORRT();
    FolderTest::SetUp();
    plan_.target = "tensorrt";
    plan_.gpu_sms = {"sm89"};
    plan_.precision = Precision::kFp16;
    plan_.limits.time = std::chrono::seconds(60);
  }
  void TearDown() override {
    if (!folder_.empty()) FolderTest::TearDown();
  }
  CompiledPart compile(const Model& model, Progress progress = {}) {
    return find_target("tensorrt").compile({model, plan_, "model", folder_, std::move(progress)});
  }
  /// The error that compiling must give; also checks that no file is left.
  Error refusal(const Model& model, Progress progress = {}) {
    try {
      compile(model, std::move(progress));
    } catch (const Error& error) {
      EXPECT_THAT(files(), IsEmpty()) << error.what();
      return error;
    }
    ADD_FAILURE() << "was built";
    return Error(ErrorKind::kInternal, "was built");
  }
  EngineHead head() const {
    const auto file = MappedFile::open(folder_ / "model.engine");
    return parse_engine_head(file->bytes(), file->path());
  }
  /// Builds from raw bytes, past our own reader.
  BuilderOutcome build_bytes(std::string_view bytes) {
    write_file(folder_ / "raw.onnx", bytes);
    BuilderRequest request;
    request.library = find_library();
    request.onnx = folder_ / "raw.onnx";
    request.engine = folder_ / "raw.engine";
    request.sms = {89};
    return run_builder(request, plan_.limits, {});
  }
  BuildPlan plan_;
};

TEST_F(TensorRtBuild, OneSm) {
  const Model model = conv_model(DType::kFloat16);
  const CompiledPart part = compile(model);
  EXPECT_THAT(files(), ElementsAre("model.engine", "model.onnx"));
  ASSERT_EQ(part.files.size(), 2U);
  EXPECT_EQ(part.files[0].role, "engine");
  EXPECT_EQ(part.files[1].role, "source");
  EXPECT_THAT(head().sms, ElementsAre(89));
  EXPECT_EQ(head().version.to_string(), part.facts.at("version").get<std::string>());
  EXPECT_EQ(part.facts.at("gpu_sms"), nlohmann::json({"sm89"}));
  EXPECT_EQ(part.inputs.at(0).name, "x");
  EXPECT_EQ(part.outputs.at(0).dtype, DType::kFloat16);
  // The proof rests on this file: it must be the model that was handed over.
  const Model source = read_onnx(folder_ / "model.onnx");
  EXPECT_EQ(source.graph.nodes.size(), model.graph.nodes.size());
  EXPECT_TRUE(std::ranges::equal(source.graph.find_initializer("w")->tensor.bytes(),
                                 model.graph.find_initializer("w")->tensor.bytes()));
}

TEST_F(TensorRtBuild, SeveralSmsInOneEngine) {
  plan_.gpu_sms = {"12.0", "sm_75", "86", "sm89", "sm86"};
  compile(conv_model(DType::kFloat16));
  EXPECT_THAT(head().sms, ElementsAre(75, 86, 89, 120));
}

TEST_F(TensorRtBuild, DefaultSmsAreTheThreeGeForceGenerations) {
  plan_.gpu_sms.clear();
  plan_ = find_target("tensorrt").resolve(plan_);
  EXPECT_THAT(plan_.gpu_sms, ElementsAre("sm86", "sm89", "sm120"));
  compile(matmul_model(DType::kFloat16));
  EXPECT_THAT(head().sms, ElementsAre(86, 89, 120));
}

TEST_F(TensorRtBuild, EveryPrecisionBuilds) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBfloat16}) {
    SCOPED_TRACE(to_string(dtype));
    compile(conv_model(dtype));
    compile(matmul_model(dtype));
  }
}

TEST_F(TensorRtBuild, TwoBuildsAreIdentical) {
  compile(conv_model(DType::kFloat16));
  const std::string first = read_file(folder_ / "model.engine");
  compile(conv_model(DType::kFloat16));
  EXPECT_EQ(read_file(folder_ / "model.engine"), first);
}

TEST_F(TensorRtBuild, QuantisedModel) {
  const std::int64_t count = 8 * 3 * 3 * 3;
  Tensor weights(DType::kInt8, {8, 3, 3, 3});
  for (std::int64_t i = 0; i < count; ++i) {
    weights.mutable_as<std::int8_t>()[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(i % 201 - 100);
  }
  Node dequantise_weights = node("DequantizeLinear", {"w", "sw", "zw"}, {"wf"}, "dqw");
  dequantise_weights.set_attribute("axis", std::int64_t{0});
  Model model = model_of(
      {value("x", DType::kFloat32, fixed({1, 3, 16, 16}))},
      {node("QuantizeLinear", {"x", "s", "z"}, {"q"}, "q0"), node("DequantizeLinear", {"q", "s", "z"}, {"d"}, "dq0"),
       dequantise_weights, node("Conv", {"d", "wf"}, {"y"}, "conv0")},
      {value("y", DType::kFloat32, fixed({1, 8, 14, 14}))});
  model.graph.set_initializer("w", weights);
  model.graph.set_initializer("s", Tensor::scalar(0.05F));
  model.graph.set_initializer("z", Tensor::scalar(std::int8_t{0}));
  model.graph.set_initializer("sw", Tensor::of<float>({8}, {.01F, .01F, .01F, .01F, .01F, .01F, .01F, .01F}));
  model.graph.set_initializer("zw", Tensor::of<std::int8_t>({8}, {0, 0, 0, 0, 0, 0, 0, 0}));
  plan_.gpu_sms = {"sm75", "sm89"};
  compile(model);
  model.graph.set_initializer("z", Tensor::scalar(std::int8_t{3}));
  fs::remove(folder_ / "model.engine");
  fs::remove(folder_ / "model.onnx");
  EXPECT_THAT(refusal(model).message(), HasSubstr("zero point"));
}

TEST_F(TensorRtBuild, DynamicShapes) {
  const Model model = conv_model(DType::kFloat16, 0);
  const CompiledPart by_default = compile(model);
  EXPECT_EQ(by_default.facts.at("profiles").at(0).at("max"), nlohmann::json({8, 3, 16, 16}));
  EXPECT_EQ(by_default.inputs.at(0).shape.at(0).to_string(), "batch");
  plan_.profiles = {{"x", {1, 3, 16, 16}, {4, 3, 16, 16}, {32, 3, 16, 16}}};
  EXPECT_EQ(compile(model).facts.at("profiles").at(0).at("opt"), nlohmann::json({4, 3, 16, 16}));
}

TEST_F(TensorRtBuild, BadShapesAreRefusedBeforeTheLibrary) {
  const Model model = conv_model(DType::kFloat16, 0);
  const std::vector<std::pair<ShapeProfile, std::string>> cases = {
      {{"x", {1, 3, 16, 16}, {2, 3, 16, 16}, {std::int64_t{1} << 40, 3, 16, 16}}, "2^31-1"},
      {{"x", {4, 3, 16, 16}, {2, 3, 16, 16}, {8, 3, 16, 16}}, "does not rise"},
      {{"x", {0, 3, 16, 16}, {2, 3, 16, 16}, {8, 3, 16, 16}}, "begins at 0"},
      {{"x", {1, 4, 16, 16}, {1, 4, 16, 16}, {1, 4, 16, 16}}, "fixed to 3"},
      {{"x", {1, 3, 16}, {1, 3, 16}, {1, 3, 16}}, "extents"},
      {{"z", {1, 3, 16, 16}, {2, 3, 16, 16}, {8, 3, 16, 16}}, "no input 'z'"},
  };
  for (const auto& [profile, words] : cases) {
    plan_.profiles = {profile};
    const Error error = refusal(model);
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), HasSubstr(words));
    EXPECT_FALSE(find_target("tensorrt").supports(model, plan_));
  }
}

TEST_F(TensorRtBuild, ProgressShowsPhaseAndTime) {
  std::vector<ProgressEvent> events;
  Progress progress;
  progress.report = [&](const ProgressEvent& event) { events.push_back(event); };
  compile(chain_model(800), progress);
  ASSERT_GE(events.size(), 2U);
  EXPECT_EQ(events.back().fraction, 1.0);
  EXPECT_THAT(events.back().detail, HasSubstr(" s"));
  double last = 0;
  for (const ProgressEvent& event : events) {
    if (event.fraction < 0) continue;
    EXPECT_GE(event.fraction, last);
    last = event.fraction;
  }
}

TEST_F(TensorRtBuild, CancelledBuildLeavesNothing) {
  CancelToken token;
  Progress progress;
  progress.cancel = &token;
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(700));
    token.cancel();
  });
  const auto begin = std::chrono::steady_clock::now();
  const Error error = refusal(chain_model(20000), progress);
  canceller.join();
  EXPECT_EQ(error.kind(), ErrorKind::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST_F(TensorRtBuild, DeepChainBuildsAndTheDeepestMeetsTheTimeLimit) {
  compile(chain_model(1200));  // Takes about 3 MiB of stack; from 3,000 nodes on the usual 8 MiB do not suffice.
  fs::remove(folder_ / "model.engine");
  fs::remove(folder_ / "model.onnx");
  plan_.limits.time = std::chrono::seconds(3);
  const Error error = refusal(chain_model(20000));
  EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
  EXPECT_THAT(error.message(), HasSubstr("the limit being 3 s"));
}

TEST_F(TensorRtBuild, SmallStackCrashesOnlyTheChild) {
  plan_.limits.stack_bytes = 256U << 10;
  const Error error = refusal(chain_model(1200));
  EXPECT_THAT(error.message(), HasSubstr("SIGSEGV"));
}

TEST_F(TensorRtBuild, MemoryLimit) {
  plan_.limits.memory_bytes = 64U << 20;  // The library alone takes 110 MiB.
  const Error error = refusal(conv_model(DType::kFloat16));
  EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
  EXPECT_THAT(error.message(), HasSubstr("64 MiB"));
}

TEST_F(TensorRtBuild, KilledBuilder) {
  Progress progress;
  // Progress runs in this process: find the child through the system and kill it as the kernel would.
  progress.report = [](const ProgressEvent&) {
    for (const auto& entry : fs::directory_iterator("/proc/self/task")) {
      std::ifstream children(entry.path() / "children");
      for (int pid = 0; children >> pid;) ::kill(pid, SIGKILL);
    }
  };
  const Error error = refusal(chain_model(20000), progress);
  EXPECT_THAT(error.message(), HasSubstr("SIGKILL"));
}

TEST_F(TensorRtBuild, RefusalsNameNodeReasonAndRemedy) {
  const std::vector<Dimension> vector = fixed({4});
  struct Case {
    Model model;
    std::string node;
    std::string words;
  };
  Model topk =
      model_of({value("x", DType::kFloat32, fixed({1, 5000}))}, {node("TopK", {"x", "k"}, {"y", "i"}, "topk0")},
               {value("y", DType::kFloat32, fixed({1, 4000}))});
  topk.graph.set_initializer("k", Tensor::of<std::int64_t>({1}, {4000}));
  Model wrong_rank = conv_model(DType::kFloat32);
  wrong_rank.graph.set_initializer("w", testing::numbers(DType::kFloat32, {8, 3, 3}));
  Node foreign = node("FusedThing", {"x"}, {"y"}, "fused0");
  foreign.domain = "com.microsoft";
  const std::vector<Case> cases = {
      {model_of({value("x", DType::kFloat32, vector)}, {node("Foo", {"x"}, {"y"}, "foo0")},
                {value("y", DType::kFloat32, vector)}),
       "foo0", "does not know this operator"},
      {model_of({value("x", DType::kFloat32, vector), value("z", DType::kFloat16, vector)},
                {node("Add", {"x", "z"}, {"y"}, "add0")}, {value("y", DType::kFloat32, vector)}),
       "add0", "different types"},
      {topk, "topk0", "3840"},
      {model_of({value("x", DType::kFloat32, vector)}, {node("NonZero", {"x"}, {"y"}, "nz0")},
                {value("y", DType::kInt64, fixed({1, 4}))}),
       "nz0", "NonZero"},
      {model_of({value("x", DType::kFloat32, vector)}, {foreign}, {value("y", DType::kFloat32, vector)}), "fused0",
       "com.microsoft"},
      {model_of({value("x", DType::kFloat32, fixed({4, 4})), value("s", DType::kInt64, fixed({2}))},
                {node("Reshape", {"x", "s"}, {"y"}, "reshape0")}, {value("y", DType::kFloat32, fixed({2, 8}))}),
       "", "range"},
      {wrong_rank, "conv0", "rank"},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.words);
    const Error error = refusal(test.model);
    EXPECT_THAT(error.what(), HasSubstr(test.node));
    EXPECT_THAT(error.what(), HasSubstr(test.words));
    EXPECT_FALSE(error.remedy().empty());
    EXPECT_NE(error.kind(), ErrorKind::kInternal);
  }
}

TEST_F(TensorRtBuild, ModelsThatCrashTheLibraryDoNotCrashUs) {
  // A node without outputs is refused; handed over all the same, it ends the builder by a signal.
  const Model no_output = model_of({value("x", DType::kFloat32, fixed({1}))}, {node("Relu", {"x"}, {}, "r0")},
                                   {value("x", DType::kFloat32, fixed({1}))});
  EXPECT_THAT(refusal(no_output).what(), HasSubstr("r0"));
  const BuilderOutcome outcome = build_bytes(serialize_onnx(no_output));
  const Error crash = build_error(outcome, no_output, "raw.onnx", plan_.limits);
  EXPECT_EQ(crash.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(crash.message(), HasSubstr("SIGSEGV"));
  fs::remove(folder_ / "raw.onnx");
  // A function that calls itself.
  Model recursive = model_of({value("x", DType::kFloat32, fixed({4}))}, {node("Self", {"x"}, {"y"}, "self0")},
                             {value("y", DType::kFloat32, fixed({4}))});
  recursive.graph.nodes[0].domain = "own";
  recursive.opset_imports.push_back({"own", 1});
  Function self;
  self.name = "Self";
  self.domain = "own";
  self.inputs = {"a"};
  self.outputs = {"b"};
  self.nodes = {node("Self", {"a"}, {"b"}, "again")};
  self.nodes[0].domain = "own";
  self.opset_imports = {{"", 17}, {"own", 1}};
  recursive.functions = {self};
  plan_.limits.stack_bytes = 16U << 20;  // Ends sooner.
  EXPECT_THAT(refusal(recursive).message(), HasSubstr("SIGSEGV"));
}

TEST_F(TensorRtBuild, BytesThatAreNoModel) {
  const Model model = conv_model(DType::kFloat16);
  compile(model);
  const std::string good = read_file(folder_ / "model.onnx");
  fs::remove(folder_ / "model.onnx");
  fs::remove(folder_ / "model.engine");
  std::string random(4096, '\0');
  std::uint32_t state = 7;
  for (char& c : random) c = static_cast<char>((state = state * 1664525U + 1013904223U) >> 24);
  for (const std::string& bytes : {std::string(), std::string(100, '\0'), std::string("this is no model"), random,
                                   good.substr(0, good.size() / 2)}) {
    SCOPED_TRACE(bytes.size());
    const BuilderOutcome outcome = build_bytes(bytes);
    EXPECT_FALSE(outcome.is_built());
    const Error error = build_error(outcome, model, "raw.onnx", plan_.limits);
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << error.what();
    EXPECT_FALSE(fs::exists(folder_ / "raw.engine"));
  }
}

TEST_F(TensorRtBuild, FlippedBytesNeverReachUs) {
  compile(conv_model(DType::kFloat16));
  const std::string good = read_file(folder_ / "model.onnx");
  std::uint32_t state = 4711;
  const auto next = [&] { return (state = state * 1664525U + 1013904223U) >> 8; };
  int num_built = 0;
  for (int i = 0; i < 25; ++i) {
    std::string bytes = good;
    for (int flips = 0; flips < 3; ++flips) bytes[next() % bytes.size()] ^= static_cast<char>(1U << (next() % 8));
    const BuilderOutcome outcome = build_bytes(bytes);
    num_built += outcome.is_built() ? 1 : 0;
    if (!outcome.is_built()) {
      EXPECT_FALSE(build_error(outcome, Model{}, "raw.onnx", plan_.limits).message().empty());
    }
  }
  // Most flips fall into weights and change numbers only; some must have hit the structure.
  EXPECT_GT(num_built, 0);
  EXPECT_LT(num_built, 25);
}

TEST_F(TensorRtBuild, RealModels) {
  int num_models = 0;
  for (const char* name : {"efficientnet_lite0", "yolov8n"}) {
    const fs::path path = fs::path(PAJAMAS_DEPS_DIR) / "models" / (std::string(name) + ".onnx");
    if (!fs::exists(path)) continue;
    ++num_models;
    plan_.gpu_sms = {"sm86", "sm89", "sm120"};
    const CompiledPart part = compile(read_onnx(path));
    EXPECT_THAT(head().sms, ElementsAre(86, 89, 120));
    EXPECT_GT(part.facts.at("num_layers").get<int>(), 50);
  }
  if (num_models == 0) GTEST_SKIP() << "no models here: run tools/fetch_models and tools/make_models";
}

TEST_F(TensorRtBuild, NoRoomForTheEngine) {
  // The model (1 kB) may be written, the engine (260 kB) not. The signal of the limit must not end this process.
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = 64U << 10;
  ::setrlimit(RLIMIT_FSIZE, &small);
  const Error error = refusal(conv_model(DType::kFloat16));
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(error.message(), HasSubstr("cannot write the engine"));
}

TEST_F(TensorRtBuild, NoRoomForTheModel) {
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = 100;
  ::setrlimit(RLIMIT_FSIZE, &small);
  const Error error = refusal(conv_model(DType::kFloat16));
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
}

TEST_F(TensorRtBuild, BareEngineLeavesNothingBesideIt) {
  EngineBuild build;
  build.sms = {86, 89};
  build.limits = plan_.limits;
  write_file(folder_ / "my.engine", std::string_view("an older engine"));
  Model unbuildable = conv_model(DType::kFloat16);
  unbuildable.graph.nodes[1].op_type = "NoSuchOperator";
  EXPECT_THROW(compile_bare_engine(unbuildable, build, folder_ / "my.engine", "my.onnx", {}), Error);
  EXPECT_THAT(files(), ElementsAre("my.engine"));
  EXPECT_EQ(read_file(folder_ / "my.engine"), "an older engine");
  compile_bare_engine(conv_model(DType::kFloat16), build, folder_ / "my.engine", "my.onnx", {});
  EXPECT_THAT(files(), ElementsAre("my.engine"));
  const auto file = MappedFile::open(folder_ / "my.engine");
  EXPECT_THAT(parse_engine_head(file->bytes(), file->path()).sms, ElementsAre(86, 89));
}

TEST_F(TensorRtBuild, FolderThatIsNotThere) {
  const Model model = conv_model(DType::kFloat16);
  EXPECT_THROW(find_target("tensorrt").compile({model, plan_, "model", folder_ / "none", {}}), Error);
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(TensorRtBuild, WrongLibraries) {
  const Model model = conv_model(DType::kFloat16);
  const auto refusal_with = [&](const std::string& library) {
    set_library_location(library);
    const Error error = refusal(model);
    set_library_location({});
    return error;
  };
  EXPECT_EQ(refusal_with("/nonexistent/libtensorrt_rtx.so.1").kind(), ErrorKind::kDeviceMissing);
  const Error no_folder = refusal_with(folder_.string());
  EXPECT_EQ(no_folder.kind(), ErrorKind::kDeviceMissing);
  EXPECT_THAT(no_folder.message(), HasSubstr("holds no TensorRT library"));
  const fs::path fake = folder_ / "fake";
  fs::create_directory(fake);
  write_file(fake / "libtensorrt_rtx.so.1", std::string_view("not a library"));
  set_library_location(fake);
  try {
    compile(model);
    ADD_FAILURE() << "was built";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDeviceMissing) << error.what();
  }
  set_library_location("/lib/x86_64-linux-gnu/libm.so.6");
  if (fs::exists("/lib/x86_64-linux-gnu/libm.so.6")) {
    try {
      compile(model);
      ADD_FAILURE() << "was built";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
      EXPECT_THAT(error.what(), HasSubstr("not a TensorRT library"));
    }
  }
  set_library_location({});
  EXPECT_THAT(files(), ElementsAre("fake"));
}

TEST_F(TensorRtBuild, TwoBuildsAtOnce) {
  // The library's list of targets belongs to the process: only separate processes can build for different SMs at once.
  std::vector<std::thread> threads;
  std::array<bool, 4> is_built{};
  const std::array<std::string, 4> sms{"sm75", "sm86", "sm89", "sm120"};
  for (std::size_t i = 0; i < sms.size(); ++i) {
    threads.emplace_back([&, i] {
      BuildPlan plan = plan_;
      plan.gpu_sms = {sms[i]};
      const Model model = conv_model(DType::kFloat16);
      find_target("tensorrt").compile({model, plan, "part" + std::to_string(i), folder_, {}});
      const auto file = MappedFile::open(folder_ / ("part" + std::to_string(i) + ".engine"));
      is_built[i] = "sm" + std::to_string(parse_engine_head(file->bytes(), "").sms.at(0)) == sms[i];
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(is_built, ::testing::Each(true));
}

}  // namespace
}  // namespace pajamas::tensorrt

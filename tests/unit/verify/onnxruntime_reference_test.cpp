// Tests of verify/onnxruntime_*.h: the library is found or refused by name, models run, and every failure names its
// cause. Expected values are worked out by hand.
#include "verify/onnxruntime_reference.h"
#include "support/thrown_by.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/files.h"
#include "onnx_models.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using test::thrown_by;
namespace fs = std::filesystem;
using testing::as_bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::OnnxBuilder;

/// y = Relu(x + w), with w = [1, -2, 3].
OnnxBuilder add_relu() {
  OnnxBuilder model;
  model.input("x", {"batch", 3}).output("y", {"batch", 3}).weights("w", {3}, {1, -2, 3});
  model.node("Add", {"x", "w"}, {"sum"}, "adder");
  model.node("Relu", {"sum"}, {"y"}, "relu");
  return model;
}

OnnxRuntimeSession session_of(const OnnxBuilder& model, const OnnxRuntimeOptions& options = {}) {
  const std::string bytes = model.bytes();
  return {as_bytes(bytes), {}, options};
}

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("pajamas-ort-" + std::to_string(::getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

TEST(OnnxRuntime, RunsAModelAndDescribesItsTensors) {
  const auto session = session_of(add_relu());
  EXPECT_EQ(session.version().rfind("1.", 0), 0U);
  ASSERT_EQ(session.inputs().size(), 1U);
  EXPECT_EQ(session.inputs()[0].name, "x");
  EXPECT_EQ(session.inputs()[0].dtype, DType::kFloat32);
  EXPECT_EQ(session.inputs()[0].shape[0].to_string(), "batch");
  EXPECT_EQ(session.inputs()[0].shape[1].to_string(), "3");
  const auto outputs = session.run({{"x", Tensor::of<float>({2, 3}, {0, 0, 0, 1, 5, -9})}});
  ASSERT_EQ(outputs.size(), 1U);
  EXPECT_EQ(outputs[0].shape(), (Shape{2, 3}));
  EXPECT_THAT(outputs[0].as<float>(), ElementsAre(1, 0, 3, 2, 3, 0));
}

TEST(OnnxRuntime, OutputsOutliveTheirSession) {
  std::vector<Tensor> outputs;
  {
    const auto session = session_of(add_relu());
    outputs = session.run({{"x", Tensor::of<float>({1, 3}, {0, 0, 0})}});
  }
  EXPECT_THAT(outputs[0].as<float>(), ElementsAre(1, 0, 3));
}

TEST(OnnxRuntime, GivesExtraOutputsWithoutChangingTheOthers) {
  const auto session = session_of(add_relu(), {.extra_outputs = {"sum"}});
  const auto outputs = session.run({{"x", Tensor::of<float>({1, 3}, {0, 0, 0})}});
  ASSERT_EQ(outputs.size(), 2U);
  EXPECT_THAT(outputs[0].as<float>(), ElementsAre(1, 0, 3));
  EXPECT_THAT(outputs[1].as<float>(), ElementsAre(1, -2, 3));
  EXPECT_EQ(session.outputs()[1].name, "sum");
}

TEST(OnnxRuntime, RunsEmptyTensorsAndEveryLevelOfOptimisation) {
  using Level = OnnxRuntimeOptions::Optimisation;
  for (const auto level : {Level::kNone, Level::kBasic, Level::kAll}) {
    const auto session = session_of(add_relu(), {.num_threads = 1, .optimisation = level, .extra_outputs = {}});
    const auto outputs = session.run({{"x", Tensor(DType::kFloat32, Shape{0, 3})}});
    EXPECT_EQ(outputs[0].shape(), (Shape{0, 3}));
    EXPECT_EQ(outputs[0].size_bytes(), 0U);
  }
}

TEST(OnnxRuntime, RunsStringsIntegersAndSequences) {
  OnnxBuilder model;
  model.input("text", {2}, onnx::TensorProto::STRING).input("n", {3}, onnx::TensorProto::INT64);
  model.output("same", {2}, onnx::TensorProto::STRING).output("minus", {3}, onnx::TensorProto::INT64);
  model.node("Identity", {"text"}, {"same"});
  model.node("Neg", {"n"}, {"minus"});
  model.node("SequenceConstruct", {"n"}, {"list"});
  const auto session = session_of(model, {.extra_outputs = {"list"}});
  const auto outputs =
      session.run({{"text", Tensor({2}, {"", "two words"})}, {"n", Tensor::of<std::int64_t>({3}, {1, -2, INT64_MAX})}});
  EXPECT_THAT(outputs[0].strings(), ElementsAre("", "two words"));
  EXPECT_THAT(outputs[1].as<std::int64_t>(), ElementsAre(-1, 2, -INT64_MAX));
  EXPECT_EQ(outputs[2].dtype(), DType::kUndefined);
}

TEST(OnnxRuntime, ServesThreadsAtOnce) {
  const auto session = session_of(add_relu(), {.num_threads = 1});
  std::vector<std::thread> threads;
  std::vector<float> results(4);
  for (std::size_t t = 0; t < results.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const auto x = static_cast<float>(t);
        results[t] = session.run({{"x", Tensor::of<float>({1, 3}, {x, x, x})}})[0].as<float>()[0];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(results, ElementsAre(1, 2, 3, 4));
}

TEST(OnnxRuntime, RefusesWrongInputsByName) {
  const auto session = session_of(add_relu());
  const auto x = Tensor::of<float>({1, 3}, {0, 0, 0});
  EXPECT_THAT(thrown_by([&] { session.run({{"z", x}}); }).what(), HasSubstr("no input 'z'"));
  EXPECT_THAT(thrown_by([&] { session.run({{"x", x}, {"x", x}}); }).what(), HasSubstr("given twice"));
  EXPECT_THAT(thrown_by([&] { session.run(std::vector<std::pair<std::string, Tensor>>{}); }).what(),
              HasSubstr("'x' is not given"));
  EXPECT_THAT(thrown_by([&] {
                session.run({{"x", Tensor::of<std::int64_t>({1, 3}, {0, 0, 0})}});
              }).what(),
              HasSubstr("takes float32, not int64"));
  EXPECT_THAT(thrown_by([&] { session.run({{"x", Tensor::of<float>({1, 2}, {0, 0})}}); }).what(), HasSubstr("x"));
}

TEST(OnnxRuntime, NamesTheNodeThatFails) {
  OnnxBuilder model;
  model.input("x", {"n"}).input("shape", {1}, onnx::TensorProto::INT64).output("y", {"m"});
  model.node("Reshape", {"x", "shape"}, {"y"}, "/head/Reshape");
  const auto session = session_of(model);
  const auto error = thrown_by([&] {
    session.run({{"x", Tensor::of<float>({3}, {1, 2, 3})}, {"shape", Tensor::of<std::int64_t>({1}, {7})}});
  });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_EQ(error.where(), "Reshape node '/head/Reshape'");
}

TEST(OnnxRuntime, RefusesUnknownOperatorsAndDamagedModels) {
  OnnxBuilder unknown;
  unknown.input("x", {1}).output("y", {1});
  unknown.node("Frobnicate", {"x"}, {"y"}, "odd");
  const auto error = thrown_by([&] { session_of(unknown); });
  EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
  EXPECT_THAT(error.what(), HasSubstr("Frobnicate"));

  const std::string garbage(100, '\x7f');
  EXPECT_EQ(thrown_by([&] { OnnxRuntimeSession(as_bytes(garbage), {}); }).kind(), ErrorKind::kBadInput);
  const std::string whole = add_relu().bytes();
  const std::string truncated = whole.substr(0, whole.size() / 2);
  EXPECT_EQ(thrown_by([&] { OnnxRuntimeSession(as_bytes(truncated), {}); }).kind(), ErrorKind::kBadInput);
  EXPECT_EQ(thrown_by([&] { OnnxRuntimeSession(std::span<const std::byte>{}, {}); }).kind(), ErrorKind::kBadInput);
  EXPECT_THAT(thrown_by([&] { session_of(add_relu(), {.extra_outputs = {"nowhere"}}); }).what(), HasSubstr("nowhere"));
}

TEST(OnnxRuntime, ReadsExternalDataBesideTheFile) {
  const Folder folder;
  auto model = add_relu();
  auto* weight = model.proto().mutable_graph()->mutable_initializer(0);
  write_file(folder.path() / "w.bin", weight->raw_data());
  weight->clear_raw_data();
  weight->set_data_location(onnx::TensorProto::EXTERNAL);
  auto* location = weight->add_external_data();
  location->set_key("location");
  location->set_value("w.bin");
  write_file(folder.path() / "m.onnx", model.bytes());
  const OnnxRuntimeSession from_file(folder.path() / "m.onnx", {.extra_outputs = {"sum"}});
  EXPECT_THAT(from_file.run({{"x", Tensor::of<float>({1, 3}, {0, 0, 0})}})[1].as<float>(), ElementsAre(1, -2, 3));
  EXPECT_THAT(thrown_by([&] { OnnxRuntimeSession(folder.path() / "none.onnx"); }).what(), HasSubstr("none.onnx"));
  fs::remove(folder.path() / "w.bin");
  EXPECT_THAT(thrown_by([&] { OnnxRuntimeSession(folder.path() / "m.onnx"); }).where(), HasSubstr("m.onnx"));
}

TEST(OnnxRuntime, WorksAsAnEngineForTheBenchmarks) {
  const std::string bytes = add_relu().bytes();
  const auto engine = onnxruntime_engine(
      std::make_shared<OnnxRuntimeSession>(as_bytes(bytes), fs::path(), OnnxRuntimeOptions{.num_threads = 1}), 1);
  const auto session = engine->new_session();
  const auto x = Tensor::of<float>({1, 3}, {10, 10, 10});
  session->set_input(0, x.view());
  session->run();
  EXPECT_THAT(session->output(0).as<float>(), ElementsAre(11, 8, 13));
  EXPECT_GT(session->last_timing().device.count(), 0);
  EXPECT_EQ(engine->describe().at("implementation"), "onnxruntime");
  EXPECT_THROW(session->set_input(1, x.view()), Error);
  EXPECT_THROW(session->set_input(0, Tensor::of<std::int64_t>({1}, {1}).view()), Error);
}

TEST(OnnxRuntimeLibrary, RefusesWhatIsNotTheLibrary) {
  const Folder folder;
  const auto refusal = [&](const fs::path& path) {
    const auto error = thrown_by([&] { OnnxRuntimeLibrary::open(path); });
    EXPECT_EQ(error.kind(), ErrorKind::kDeviceMissing);
    EXPECT_THAT(error.remedy(), HasSubstr("PAJAMAS_ONNXRUNTIME_LIBRARY"));
    return std::string(error.what());
  };
  EXPECT_THAT(refusal(folder.path() / "none.so"), HasSubstr("none.so"));
  EXPECT_THAT(refusal(folder.path()), HasSubstr(folder.path().string()));
  EXPECT_THAT(refusal("libno-such-library-at-all.so"), HasSubstr("does not load"));
  write_file(folder.path() / "text.so", std::string_view("not a library, but long enough to hold an ELF header......."
                                                         "........................................"));
  EXPECT_THAT(refusal(folder.path() / "text.so"), HasSubstr("no shared library"));
  write_file(folder.path() / "short.so", std::string_view("\177ELF"));
  EXPECT_THAT(refusal(folder.path() / "short.so"), HasSubstr("too short"));

  // The real library, cut off at several places: never a crash.
  const auto path = OnnxRuntimeLibrary::get()->path();
  const std::string whole = read_file(path);
  for (const std::size_t size : {std::size_t{200}, whole.size() / 100, whole.size() / 2, whole.size() - 1}) {
    std::ofstream(folder.path() / "cut.so", std::ios::binary).write(whole.data(), static_cast<std::streamsize>(size));
    EXPECT_THAT(refusal(folder.path() / "cut.so"), HasSubstr("damaged"));
  }
}

TEST(OnnxRuntimeLibrary, TakesTheNamedFileOrNone) {
  ASSERT_EQ(setenv(kOnnxRuntimeLibraryVariable, "/nowhere/libonnxruntime.so", 1), 0);
  EXPECT_THAT(OnnxRuntimeLibrary::candidates(), ElementsAre(fs::path("/nowhere/libonnxruntime.so")));
  ASSERT_EQ(unsetenv(kOnnxRuntimeLibraryVariable), 0);
  EXPECT_GT(OnnxRuntimeLibrary::candidates().size(), 1U);
}

}  // namespace
}  // namespace pajamas

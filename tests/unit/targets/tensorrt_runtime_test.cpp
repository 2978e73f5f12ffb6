// The run-time side of the target `tensorrt`: sessions against a fake library and a fake driver (no RTX GPU is needed),
// and the real library as far as it goes without a GPU.
#include "targets/tensorrt/runtime.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "targets/registry.h"
#include "targets/tensorrt/engine_file.h"
#include "unit/targets/tensorrt_fake.h"
#include "unit/targets/tensorrt_models.h"

namespace pajamas::tensorrt {
namespace {

using testing::conv_model;
using ::testing::ElementsAre;
using testing::fake;
using testing::FakeDriver;
using ::testing::HasSubstr;
using testing::own_fake;

namespace fs = std::filesystem;

class TensorRtSessionTest : public testing::FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    fake() = {};
  }
  std::shared_ptr<const Engine> engine(const EngineOptions& options = {}) {
    return make_engine(nullptr, {}, own_fake<CudaEngine>(testing::fake_engine()), driver_, driver_.devices()[0],
                       options);
  }
  static std::vector<float> values(const TensorView& tensor) {
    const auto span = tensor.as<float>();
    return {span.begin(), span.end()};
  }
  FakeDriver driver_;
};

TEST_F(TensorRtSessionTest, DescribesInputsAndOutputs) {
  const auto loaded = engine();
  ASSERT_EQ(loaded->inputs().size(), 1U);
  EXPECT_EQ(loaded->inputs()[0].name, "x");
  EXPECT_EQ(loaded->inputs()[0].dtype, DType::kFloat32);
  EXPECT_FALSE(loaded->inputs()[0].shape[0].is_known());
  EXPECT_EQ(loaded->inputs()[0].shape[1].extent(), 4);
  ASSERT_EQ(loaded->outputs().size(), 1U);
  EXPECT_EQ(loaded->describe().at("device"), "Fake RTX");
  EXPECT_EQ(loaded->describe().at("sm"), "sm89");
}

TEST_F(TensorRtSessionTest, RunsAtEveryShapeOfTheProfile) {
  const auto loaded = engine();
  const auto session = loaded->new_session();
  for (const std::int64_t batch : {1, 8, 3}) {
    Tensor x(DType::kFloat32, {batch, 4});
    for (std::size_t i = 0; i < static_cast<std::size_t>(batch * 4); ++i)
      x.mutable_as<float>()[i] = static_cast<float>(i);
    session->set_input(0, x.view());
    session->run();
    const TensorView y = session->output(0);
    EXPECT_EQ(y.shape, Shape({batch, 4}));
    for (std::size_t i = 0; i < static_cast<std::size_t>(batch * 4); ++i) {
      EXPECT_EQ(y.as<float>()[i], 2 * static_cast<float>(i));
    }
  }
  EXPECT_EQ(fake().num_shape_changes, 3);
  EXPECT_GT(session->last_timing().device.count(), 0);
}

TEST_F(TensorRtSessionTest, RepeatedRunsKeepInputAndShape) {
  const auto loaded = engine();
  const auto session = loaded->new_session();
  {
    const Tensor x = Tensor::of<float>({1, 4}, {1, 2, 3, 4});
    session->set_input(0, x.view());
  }  // The session has its own copy.
  session->run();
  session->run();
  EXPECT_THAT(values(session->output(0)), ElementsAre(2, 4, 6, 8));
  EXPECT_EQ(fake().num_runs, 2);
  EXPECT_EQ(fake().num_shape_changes, 1);
}

TEST_F(TensorRtSessionTest, OutputsWhoseSizeTheRunDecides) {
  fake().has_counter = true;
  const auto loaded = engine();
  const auto session = loaded->new_session();
  const Tensor some = Tensor::of<float>({1, 4}, {1, -2, 3, -4});
  session->set_input(0, some.view());
  session->run();
  EXPECT_EQ(session->output(1).shape, Shape({2}));
  EXPECT_THAT(values(session->output(1)), ElementsAre(1, 1));
  const Tensor none = Tensor::of<float>({1, 4}, {-1, -2, -3, -4});
  session->set_input(0, none.view());
  session->run();
  EXPECT_EQ(session->output(1).shape, Shape({0}));
}

TEST_F(TensorRtSessionTest, WrongInputsAreNamed) {
  const auto loaded = engine();
  const auto session = loaded->new_session();
  const auto refusal = [&](const Tensor& tensor) {
    try {
      session->set_input(0, tensor.view());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      return std::string(error.what());
    }
    return std::string("taken");
  };
  EXPECT_THAT(refusal(Tensor(DType::kFloat32, {9, 4})), HasSubstr("built for [1, 4] to [8, 4]"));
  EXPECT_THAT(refusal(Tensor(DType::kFloat32, {0, 4})), HasSubstr("built for"));
  EXPECT_THAT(refusal(Tensor(DType::kFloat32, {1, 5})), HasSubstr("built for"));
  EXPECT_THAT(refusal(Tensor(DType::kFloat32, {4})), HasSubstr("built for"));
  EXPECT_THAT(refusal(Tensor(DType::kInt32, {1, 4})), HasSubstr("int32"));
  EXPECT_THROW(session->set_input(1, Tensor(DType::kFloat32, {1, 4}).view()), Error);
  EXPECT_THROW(session->run(), Error);  // Nothing was given.
  EXPECT_THROW(session->output(0), Error);
}

TEST_F(TensorRtSessionTest, AFailedRunIsAnErrorAndTheSessionGoesOn) {
  const auto loaded = engine();
  const auto session = loaded->new_session();
  const Tensor x = Tensor::of<float>({1, 4}, {1, 2, 3, 4});
  session->set_input(0, x.view());
  fake().fails_to_run = true;
  RuntimeLogger::instance().log(Severity::kError, "left from before");
  EXPECT_THROW(session->run(), Error);
  EXPECT_THROW(session->output(0), Error);
  fake().fails_to_run = false;
  session->run();
  EXPECT_THAT(values(session->output(0)), ElementsAre(2, 4, 6, 8));
}

TEST_F(TensorRtSessionTest, NothingIsLeaked) {
  {
    const auto loaded = engine();
    const auto first = loaded->new_session();
    const auto second = loaded->new_session();
    const Tensor x = Tensor::of<float>({1, 4}, {1, 2, 3, 4});
    second->set_input(0, x.view());
    second->run();
    driver_.is_full = true;  // The first run of a session allocates.
    first->set_input(0, x.view());
    EXPECT_THROW(first->run(), Error);
    EXPECT_FALSE(driver_.live.empty());
  }
  EXPECT_TRUE(driver_.live.empty());
  EXPECT_GE(fake().num_deleted, 5);  // Two contexts, two configurations, the cache, the engine.
}

TEST_F(TensorRtSessionTest, SessionsKeepTheirEngine) {
  std::unique_ptr<Session> session = engine()->new_session();
  const Tensor x = Tensor::of<float>({1, 4}, {1, 2, 3, 4});
  session->set_input(0, x.view());
  session->run();
  EXPECT_THAT(values(session->output(0)), ElementsAre(2, 4, 6, 8));
}

TEST_F(TensorRtSessionTest, KernelCacheIsKeptBetweenLoads) {
  EngineOptions options;
  options.cache_file = folder_ / "kernels";
  { const auto session = engine(options)->new_session(); }
  EXPECT_EQ(read_file(options.cache_file), "kernels");
  EXPECT_EQ(fake().restored_cache, "");
  { const auto session = engine(options)->new_session(); }
  EXPECT_EQ(fake().restored_cache, "kernels");
  // A cache that cannot be written is no failure.
  options.cache_file = folder_ / "none" / "kernels";
  { const auto session = engine(options)->new_session(); }
}

TEST_F(TensorRtSessionTest, CudaGraphIsAnOption) {
  { const auto session = engine()->new_session(); }
  EXPECT_EQ(fake().cuda_graph, 1);
  EXPECT_EQ(fake().dynamic_shapes, 0);
  fake() = {};
  EngineOptions options;
  options.use_cuda_graph = false;
  { const auto session = engine(options)->new_session(); }
  EXPECT_EQ(fake().cuda_graph, -1);
}

// ---- The real library, without a GPU ----------------------------------------------------------------------------

class TensorRtLoad : public testing::FolderTest {
 protected:
  void SetUp() override {
    PAJAMAS_NEEDS_TENSORRT();
    FolderTest::SetUp();
    BuildPlan plan;
    plan.target = "tensorrt";
    plan.gpu_sms = {"sm86", "sm89"};
    const Model model = conv_model(DType::kFloat16);
    part_ = find_target("tensorrt").compile({model, plan, "model", folder_, {}});
    plan_ = plan;
    bytes_ = read_file(folder_ / "model.engine");
  }
  void TearDown() override {
    if (!folder_.empty()) FolderTest::TearDown();
  }
  Error load_error(std::string_view bytes) {
    const fs::path path = folder_ / "model.engine";
    write_file(path, bytes);
    try {
      LoadRequest request;
      request.directory = folder_;
      request.part = "model";
      request.files = part_.files;
      request.plan = plan_;
      find_target("tensorrt").load(request);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "was loaded";
    return Error(ErrorKind::kInternal, "was loaded");
  }
  std::string bytes_;
  CompiledPart part_;
  BuildPlan plan_;
};

bool has_driver() {
  try {
    system_cuda_driver();
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST_F(TensorRtLoad, WithoutADriverTheDeviceIsMissing) {
  if (has_driver()) GTEST_SKIP() << "there is a GPU here";
  const Error error = load_error(bytes_);
  EXPECT_EQ(error.kind(), ErrorKind::kDeviceMissing);
  EXPECT_THAT(error.message(), HasSubstr("no NVIDIA driver"));
}

TEST_F(TensorRtLoad, DamagedEnginesAreRefusedBeforeTheLibrary) {
  struct Case {
    std::string bytes;
    std::string words;
  };
  std::string no_magic = bytes_;
  no_magic[0] = 'x';
  std::string no_targets = bytes_;
  no_targets[32] = 0;
  for (const Case& test : {Case{"", "too short"}, Case{std::string(63, 'v'), "too short"},
                           Case{std::string(4096, 'A'), "does not begin like one"}, Case{no_magic, "does not begin"},
                           Case{bytes_.substr(0, bytes_.size() / 2), "cut off"}, Case{bytes_ + "x", "longer"},
                           Case{no_targets, "names no GPU"}}) {
    SCOPED_TRACE(test.words);
    const Error error = load_error(test.bytes);
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_THAT(error.message(), HasSubstr(test.words));
    EXPECT_THAT(error.where(), HasSubstr("model.engine"));
  }
}

TEST_F(TensorRtLoad, OtherVersionAndOtherGpuAreNamed) {
  const EngineHead head = parse_engine_head(std::as_bytes(std::span(bytes_)), "m.engine");
  EXPECT_THAT(head.sms, ElementsAre(86, 89));
  EXPECT_NO_THROW(check_engine_version(head, head.version, "m.engine"));
  EXPECT_NO_THROW(check_engine_sm(head, 89, "RTX 4090", "m.engine"));
  try {
    check_engine_version(head, {1, 8, 0, 1}, "m.engine");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr(head.version.to_string()));
    EXPECT_THAT(error.what(), HasSubstr("1.8.0.1"));
  }
  for (const auto& [sm, remedy] : {std::pair{120, "--gpu sm120"}, std::pair{90, "--target cuda"}}) {
    try {
      check_engine_sm(head, sm, "some GPU", "m.engine");
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
      EXPECT_THAT(error.what(), HasSubstr("sm86, sm89"));
      EXPECT_THAT(error.what(), HasSubstr("sm" + std::to_string(sm)));
      EXPECT_THAT(error.what(), HasSubstr(remedy));
    }
  }
}

TEST_F(TensorRtLoad, ExactFp32NeedsAnFp32Engine) {
  LoadRequest request;
  request.directory = folder_;
  request.part = "model";
  request.files = part_.files;
  request.plan = plan_;
  request.plan.precision = Precision::kFp16;
  request.options.is_exact_fp32 = true;
  try {
    find_target("tensorrt").load(request);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
  }
}

TEST_F(TensorRtLoad, RuntimeOfTheRealLibraryRefusesGarbage) {
  const auto library = Library::open(find_library());
  EXPECT_EQ(library->family(), Family::kTensorRtRtx);
  EXPECT_TRUE(library->has_builder());
  const auto runtime = library->create_runtime(RuntimeLogger::instance());
  ASSERT_TRUE(runtime);
  const std::string garbage(4096, 'A');
  std::uint64_t diagnostics = 0;
  EXPECT_EQ(runtime->validity(garbage.data(), garbage.size(), diagnostics), EngineValidity::kInvalid);
  EXPECT_NE(diagnostics, 0U);
  EXPECT_FALSE(runtime->deserialize(garbage.data(), garbage.size()));
  EXPECT_FALSE(RuntimeLogger::instance().take_errors().empty());
}

TEST(TensorRtLibrary, TensorRt11IsTheSecondTable) {
  const LibraryPaths paths{
      fs::path(PAJAMAS_DEPS_DIR) / "tensorrt_lean" / "tensorrt_lean_libs" / "libnvinfer_lean.so.11", {}, "test"};
  if (!fs::exists(paths.library)) GTEST_SKIP() << "the lean library is not here";
  const auto library = Library::open(paths);
  EXPECT_EQ(library->family(), Family::kTensorRt);
  EXPECT_EQ(library->version().major, 11);
  EXPECT_FALSE(library->has_builder());
  EXPECT_THROW(library->create_builder(RuntimeLogger::instance()), Error);
  if (!has_driver()) {
    // Without a driver this library's run-time side may refuse to start; either way it must not crash.
    try {
      const auto runtime = library->create_runtime(RuntimeLogger::instance());
      const std::string garbage(4096, 'A');
      EXPECT_FALSE(runtime->deserialize(garbage.data(), garbage.size()));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInternal);
    }
  }
}

TEST(TensorRtLibrary, UnknownVersionsHaveNoTable) {
  EXPECT_NE(find_slot_table({1, 7, 1, 116}), nullptr);
  EXPECT_NE(find_slot_table({11, 4, 0, 106}), nullptr);
  for (const Version& version : {Version{1, 6, 0, 0}, Version{1, 8, 0, 0}, Version{10, 13, 0, 0}, Version{12, 0, 0, 0},
                                 Version{11, 5, 0, 0}, Version{0, 0, 0, 0}}) {
    EXPECT_EQ(find_slot_table(version), nullptr) << version.to_string();
  }
  EXPECT_THAT(known_versions(), HasSubstr("TensorRT for RTX 1.7"));
}

TEST(TensorRtLibrary, DoctorSaysWhatWorks) {
  const nlohmann::json report = find_target("tensorrt").doctor();
  ASSERT_TRUE(report.contains("available"));
  if (testing::has_library()) {
    EXPECT_EQ(report.at("available"), true);
    EXPECT_EQ(report.at("can_build"), true);
    EXPECT_EQ(report.at("build_targets").size(), 6U);
  }
  if (!has_driver()) {
    EXPECT_EQ(report.at("can_run"), false);
    EXPECT_THAT(report.at("run_reason").get<std::string>(), HasSubstr("NVIDIA"));
  }
}

TEST(TensorRtLibrary, DoctorOfAMissingLibrary) {
  set_library_location("/nonexistent/folder");
  const nlohmann::json report = find_target("tensorrt").doctor();
  set_library_location({});
  EXPECT_EQ(report.at("available"), false);
  EXPECT_THAT(report.at("reason").get<std::string>(), HasSubstr("does not exist"));
}

}  // namespace
}  // namespace pajamas::tensorrt

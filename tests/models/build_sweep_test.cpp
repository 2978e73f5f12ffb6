// pajamas::build() in this process, as a program that links the library calls it, on damaged forms of small real
// models: every one builds or throws Error naming the file, and nothing is left on the disk. There is no second process
// here that a crash could take instead. PAJAMAS_SWEEP=N makes N damages a model instead of a few.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "base/files.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"
#include "toolchain/build.h"

namespace pajamas::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

int num_damages() {
  const char* text = std::getenv("PAJAMAS_SWEEP");
  return text != nullptr ? std::atoi(text) : 6;
}

/// A cut, or one to three flipped bits. Weights fill the middle of the files and forgive much, so most flips fall on
/// the nodes before and the declarations behind them.
std::string damaged(const std::string& whole, std::mt19937& generator) {
  std::string bytes = whole;
  if (generator() % 6 == 0) {
    bytes.resize(generator() % bytes.size());
    return bytes;
  }
  for (auto i = 1 + generator() % 3; i > 0; --i) {
    const std::size_t third = bytes.size() / 3;
    const std::size_t tail = bytes.size() / 30;
    std::size_t at = generator() % third;
    if (generator() % 4 == 0) at = bytes.size() - 1 - generator() % tail;
    if (generator() % 8 == 0) at = generator() % bytes.size();
    bytes[at] ^= static_cast<char>(1U << (generator() % 8));
  }
  return bytes;
}

class BuildSweep : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(BuildSweep, DamagedModelsBuildOrThrow) {
  const auto [model, target] = GetParam();
  const std::string whole = read_file(fs::path(PAJAMAS_TEST_DATA) / "families" / model);
  const TemporaryFolder folder;
  fs::create_directory(folder / "out");
  std::mt19937 generator(77);
  int num_built = 0;
  int num_refused = 0;
  for (int i = 0; i < num_damages(); ++i) {
    SCOPED_TRACE(std::string(model) + " for " + target + ", damage " + std::to_string(i));
    const std::string bytes = damaged(whole, generator);
    write_file(folder / "damaged.onnx", bytes);
    BuildRequest request;
    request.source = folder / "damaged.onnx";
    request.output = folder / "out/b";
    request.plan.target = target;
    request.plan.limits.time = std::chrono::seconds(60);
    request.hints.task = "none";
    try {
      build(request);
      ++num_built;
      fs::remove_all(folder / "out/b");
    } catch (const Error& error) {
      ++num_refused;
      EXPECT_THAT(error.what(), HasSubstr("damaged.onnx"));
      EXPECT_NE(error.kind(), ErrorKind::kInternal) << error.what();
    } catch (const std::exception& error) {
      ADD_FAILURE() << "not an Error: " << error.what();
    }
    EXPECT_TRUE(fs::is_empty(folder / "out"));
    if (HasFailure()) {
      const fs::path kept = fs::temp_directory_path() / ("pajamas-sweep-" + std::to_string(i) + "-" + model);
      write_file(kept, bytes);
      FAIL() << "the damaged model is kept as " << kept;
    }
  }
  RecordProperty("built", num_built);
  RecordProperty("refused", num_refused);
}

INSTANTIATE_TEST_SUITE_P(Models, BuildSweep,
                         testing::Values(std::pair{"yolox.onnx", "openvino"}, std::pair{"yolov5.onnx", "openvino"},
                                         std::pair{"quantised.onnx", "openvino"},
                                         std::pair{"mobilenet_v3.onnx", "openvino"},
                                         std::pair{"yolov10.onnx", "openvino"}, std::pair{"yolox.onnx", "tensorrt"},
                                         std::pair{"mobilenet_v3.onnx", "tensorrt"}),
                         [](const auto& instance) {
                           std::string name = std::string(instance.param.first) + "_" + instance.param.second;
                           for (char& c : name) c = c == '.' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace pajamas::test

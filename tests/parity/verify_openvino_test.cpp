// Proofs of real models on the OpenVINO target, end to end: compiled into a folder, loaded in float32 and at the
// processor's own precision, and compared with the untouched file on ONNX Runtime. Models come from tools/fetch_models
// and tools/make_models; those that are not there are skipped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/files.h"
#include "io/onnx_reader.h"
#include "targets/registry.h"
#include "verify/proof.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;

/// The target of this test, or nullptr in a build without it.
const Target* openvino() {
  for (const Target* target : targets()) {
    if (target->name() == "openvino") return target;
  }
  return nullptr;
}

class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(fs::temp_directory_path() / ("pajamas-proof-" + name + "-" + std::to_string(::getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

class ProofOfModel : public ::testing::TestWithParam<const char*> {};

TEST_P(ProofOfModel, PassesInFloat32AndAtTheProcessorsPrecision) {
  const fs::path file = fs::path(PAJAMAS_DEPS_DIR) / "models" / (std::string(GetParam()) + ".onnx");
  if (!fs::exists(file)) GTEST_SKIP() << file << " is not there: run tools/fetch_models and tools/make_models";
  const Target* target = openvino();
  if (target == nullptr) GTEST_SKIP() << "this build has no OpenVINO target";

  const Model model = read_onnx(file);
  const Folder folder(GetParam());
  BuildPlan plan;
  plan.target = "openvino";
  plan = target->resolve(plan);
  ASSERT_TRUE(target->supports(model, plan)) << target->supports(model, plan).reason;
  const CompiledPart part = target->compile({model, plan, "model", folder.path(), {}});
  LoadRequest load;
  load.directory = folder.path();
  load.part = "model";
  load.files = part.files;
  load.open = [&](const CompiledFile& compiled) { return MappedFile::open(folder.path() / compiled.name); };
  load.facts = part.facts;
  load.plan = plan;
  const auto engine = target->load(load);
  load.options.is_exact_fp32 = true;
  const auto exact = target->load(load);

  const Proof proof = prove({.source = model,
                             .source_file = file,
                             .lowered = model,
                             .engine = engine.get(),
                             .exact_engine = exact.get(),
                             .precision = plan.precision});
  EXPECT_TRUE(proof.is_passed) << proof.summary;
  for (const auto& candidate : proof.candidates) {
    for (const auto& output : candidate.outputs) {
      RecordProperty(candidate.name + " " + output.case_name + " " + output.comparison.name,
                     describe(output.comparison));
    }
  }
  // The project's goal for float32, said once more in absolute terms where values are at most about one.
  for (const auto& output : proof.candidates.at(1).outputs) {
    EXPECT_LE(output.comparison.max_rel, 1e-4) << output.case_name << ": " << describe(output.comparison);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ProofOfModel,
                         ::testing::Values("efficientnet_lite0", "ssd_mobilenet_v2_coco", "yolov8n_nudenet", "yolov8n"),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace pajamas

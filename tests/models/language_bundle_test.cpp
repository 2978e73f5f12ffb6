// Bundles of language models from end to end: weights in every form, the proof with a cache, the proof of a model that
// is too large to be proven whole, and what is refused. On tiny random checkpoints; what families compute is
// language_test.cpp's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "bundle/bundle.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"
#include "toolchain/build.h"
#include "toolchain/language_part.h"
#include "toolchain/prove_bundle.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;

class LanguageBundle : public testing::Test {
 protected:
  BuildRequest request(const std::string& fixture, const std::string& precision) {
    BuildRequest request;
    request.source = fs::path(PAJAMAS_TEST_DATA) / "language" / fixture;
    request.plan.target = "openvino";
    request.plan.num_threads = 2;
    set_precision(request.plan, precision);
    request.output = folder_.path() / (fixture + "_" + precision);
    return request;
  }
  test::TemporaryFolder folder_;
};

TEST_F(LanguageBundle, IsProvenInEveryFormOfItsWeights) {
  for (const char* precision : {"auto", "fp32", "int8", "int8-g128", "int4"}) {
    SCOPED_TRACE(precision);
    const BuildResult result = build(request("llama", precision));
    EXPECT_EQ(result.manifest.precision, precision);
    ASSERT_EQ(result.manifest.task.name, "generation");
    const ManifestPart& part = result.manifest.parts.at(0);
    EXPECT_TRUE(part.proof.at("is_passed").get<bool>()) << part.proof.dump(1);
    std::vector<std::string> candidates;
    for (const auto& candidate : part.proof.at("candidates")) candidates.push_back(candidate.at("name"));
    EXPECT_THAT(candidates, testing::ElementsAre("lowered_model", "engine_exact_fp32", "engine"));
    const auto& weights = part.target_facts.at("weights");
    EXPECT_GT(weights.at("bytes_after").get<std::int64_t>(), 0);
    const bool is_quantised = std::string(precision).starts_with("int");
    EXPECT_EQ(weights.at("relative_error").get<double>() > 0, is_quantised);
    if (is_quantised) {
      EXPECT_LT(weights.at("bytes_after"), weights.at("bytes_before"));
    }

    const auto proofs = prove_bundle(Bundle::open(result.bundle), std::nullopt, {});
    ASSERT_EQ(proofs.size(), 1U);
    EXPECT_TRUE(proofs[0].proof.is_passed) << proofs[0].proof.summary;
  }
}

TEST_F(LanguageBundle, IsProvenWithItsFirstLayersWhereMemoryIsShort) {
  BuildRequest small = request("qwen2", "int8");
  small.plan.limits.memory_bytes = 1;
  const BuildResult result = build(small);
  const auto& proof = result.manifest.parts.at(0).proof;
  EXPECT_TRUE(proof.at("is_passed").get<bool>()) << proof.dump(1);
  ASSERT_EQ(proof.at("not_shown").size(), 1U);
  EXPECT_THAT(proof.at("not_shown")[0].get<std::string>(), testing::HasSubstr("first 1 of 2 layers"));
  // The bundle itself is whole: proven as such where there is memory.
  EXPECT_TRUE(prove_bundle(Bundle::open(result.bundle), std::nullopt, {}).at(0).proof.is_passed);
}

TEST_F(LanguageBundle, ScalesNothingWithoutText) {
  try {
    build(request("llama", "int4-awq"));
    FAIL() << "int4-awq needs text";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("--calibration"));
  }
  BuildRequest with_text = request("llama", "int4-awq");
  with_text.calibration = folder_.path() / "text.txt";
  std::ofstream(with_text.calibration) << "some text";
  try {
    build(with_text);
    FAIL() << "the fixture has no tokenizer";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.what(), testing::HasSubstr("tokenizer"));
  }
  EXPECT_FALSE(fs::exists(*with_text.output));
}

TEST_F(LanguageBundle, RefusesWhatIsNoText) {
  const BuildResult result = build(request("llama", "int8"));
  BundleTextRequest text;
  text.text = folder_.path() / "text.txt";
  std::ofstream(text.text) << "some text";
  try {
    measure_bundle_on_text(Bundle::open(result.bundle), std::nullopt, text, {});
    FAIL() << "the bundle has no tokenizer";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  }
}

}  // namespace
}  // namespace pajamas

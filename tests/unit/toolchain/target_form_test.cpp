// Tests of toolchain/target_form.h: which shapes a part is built for, and what names of extents mean.
#include "toolchain/target_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "graph/passes/dense_cache.h"
#include "graph/passes/expand_paged_attention.h"
#include "pajamas/error.h"
#include "targets/registry.h"
#include "toolchain/import.h"

namespace pajamas {
namespace {

using testing::HasSubstr;

const Target* target_named(const std::string& name) {
  for (const Target* target : targets()) {
    if (target->name() == name) return target;
  }
  return nullptr;
}

std::string error_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "no error";
}

class TargetForm : public testing::Test {
 protected:
  TargetForm() : imported_(import_model(std::filesystem::path(PAJAMAS_TEST_DATA) / "whisper/tiny", {})) {}
  void SetUp() override {
    tensorrt_ = target_named("tensorrt");
    if (tensorrt_ == nullptr) GTEST_SKIP() << "the target tensorrt is not built in";
  }
  const ImportedPart& part(const std::string& name) const {
    for (const ImportedPart& one : imported_.parts) {
      if (one.name == name) return one;
    }
    throw std::runtime_error("no part " + name);
  }
  std::vector<ShapeProfile> profiles(const std::string& name, const std::vector<ShapeProfile>& given = {}) const {
    BuildPlan plan;
    plan.profiles = given;
    const Model form = target_form(*tensorrt_, part(name).model, imported_);
    return target_profiles(*tensorrt_, form, part(name), imported_, plan);
  }
  static Shape largest(const std::vector<ShapeProfile>& profiles, const std::string& input) {
    const ShapeProfile* profile = find_profile(profiles, input);
    return profile != nullptr ? profile->max : Shape{};
  }

  ImportedModel imported_;
  const Target* tensorrt_ = nullptr;
};

TEST_F(TargetForm, DecodersGetADenseCacheWhereThereIsNoPagedOne) {
  EXPECT_EQ(dense_cache_tokens(imported_), 32);
  const Model dense = target_form(*tensorrt_, part("decoder").model, imported_);
  EXPECT_TRUE(has_dense_cache(dense));
  EXPECT_FALSE(has_dense_cache(target_form(*tensorrt_, part("encoder").model, imported_)));
  ImportedModel without_task = imported_;
  without_task.task = {};
  EXPECT_TRUE(has_paged_attention(target_form(*tensorrt_, part("decoder").model, without_task)));
  if (const Target* openvino = target_named("openvino")) {
    EXPECT_TRUE(has_paged_attention(target_form(*openvino, part("decoder").model, imported_)));
    EXPECT_TRUE(target_profiles(*openvino, part("decoder").model, part("decoder"), imported_, {}).empty());
  }
}

TEST_F(TargetForm, ExtentsThatCountByChunksFollowTheirNumber) {
  EXPECT_EQ(largest(profiles("encoder"), "features"), (Shape{4, 8, 40}));
  const auto decoder = profiles("decoder");
  EXPECT_EQ(decoder.size(), 2U + 1 + 6 + 1 + 6) << "ids and positions, rows, cross tensors, parents, cache";
  EXPECT_EQ(largest(decoder, "parents"), (Shape{20}));
  EXPECT_EQ(largest(decoder, "input_ids"), (Shape{260}));
  EXPECT_EQ(find_profile(decoder, "past_key.2")->opt, (Shape{1, 3, 32, 8}));
  EXPECT_EQ(find_profile(decoder, "past_len"), nullptr) << "nothing of it is open";
  const auto more = profiles("decoder", {{"num_chunks", Shape{1}, Shape{2}, Shape{8}}});
  EXPECT_EQ(largest(more, "parents"), (Shape{40}));
  EXPECT_EQ(largest(more, "cross_key.0"), (Shape{8, 3, 8, 20}));
  EXPECT_EQ(find_profile(more, "cross_key.0")->opt, (Shape{2, 3, 8, 20}));
  const auto own = profiles("decoder", {{"logit_rows", Shape{1}, Shape{1}, Shape{5}}});
  EXPECT_EQ(largest(own, "logit_rows"), (Shape{5})) << "an input by its own name";
  EXPECT_EQ(largest(profiles("aligner"), "input_ids"), (Shape{32}));
}

TEST_F(TargetForm, NamesAndRangesThatAreNoneAreRefused) {
  const auto check = [&](const ShapeProfile& profile) {
    return error_of([&] {
      BuildPlan plan;
      plan.profiles = {profile};
      check_profile_names(*tensorrt_, imported_, plan);
      (void)profiles("encoder", plan.profiles);
    });
  };
  EXPECT_EQ(check({"num_chunks", Shape{1}, Shape{1}, Shape{2}}), "no error");
  EXPECT_EQ(check({"parents", Shape{1}, Shape{1}, Shape{2}}), "no error");
  EXPECT_THAT(check({"chunks", Shape{1}, Shape{1}, Shape{2}}), HasSubstr("num_past_sequences"));
  EXPECT_EQ(check({"past_len", Shape{1}, Shape{1}, Shape{1}}), "no error") << "an input, though nothing of it is open";
  EXPECT_THAT(check({"num_chunks", Shape{2}, Shape{1}, Shape{2}}), HasSubstr("does not rise"));
  EXPECT_THAT(check({"num_chunks", Shape{0}, Shape{1}, Shape{2}}), HasSubstr("does not rise"));
  EXPECT_THAT(check({"num_chunks", Shape{1, 1}, Shape{1, 1}, Shape{2, 2}}), HasSubstr("does not rise"));
  // Of a model of one part everything goes on to the target, which names what it does not know.
  imported_.parts.erase(imported_.parts.begin() + 1, imported_.parts.end());
  EXPECT_EQ(profiles("encoder", {{"chunks", Shape{1}, Shape{1}, Shape{2}}}).size(), 2U);
  EXPECT_EQ(profiles("encoder", {{"num_chunks", Shape{1}, Shape{1}, Shape{2}}}).size(), 1U);
}

}  // namespace
}  // namespace pajamas

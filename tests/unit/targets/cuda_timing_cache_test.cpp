// The timing cache of the cuda target: order, environments, merging, files and damaged files. No GPU.
#include <gmock/gmock.h>

#include "base/files.h"
#include "base/json_writer.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"
#include "targets/cuda/runtime/timing_cache.h"

namespace pajamas::cuda {
namespace {

const TuningEnvironment kHere{"NVIDIA H200", 90, {{"cudnn", "9.19.0"}}};
const TuningEnvironment kOther{"NVIDIA H200", 90, {{"cudnn", "9.20.0"}}};

TEST(CudaTimingCache, finds_the_fastest_first) {
  TimingCache cache;
  cache.add(kHere, "conv", {{{"a:1", 3, 4}, {"b:1", 2, 3}, {"c:1", 1, 9}}, {"d:1: not for this"}, {}});
  const TunedSignature* found = cache.find(kHere, "conv");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->candidates[0].tactic, "b:1");
  EXPECT_EQ(found->candidates[1].tactic, "a:1");
  EXPECT_EQ(found->candidates[2].tactic, "c:1");
  EXPECT_EQ(found->refusals.size(), 1U);
}

TEST(CudaTimingCache, breaks_ties_by_name) {
  TimingCache cache;
  cache.add(kHere, "s", {{{"b:1", 1, 1}, {"a:1", 1, 1}}, {}, {}});
  EXPECT_EQ(cache.find(kHere, "s")->candidates[0].tactic, "a:1");
}

TEST(CudaTimingCache, keeps_environments_apart) {
  TimingCache cache;
  cache.add(kHere, "s", {{{"a:1", 1, 1}}, {}, {}});
  EXPECT_EQ(cache.find(kOther, "s"), nullptr);
  EXPECT_EQ(cache.find({"NVIDIA H200", 89, kHere.versions}, "s"), nullptr);
  EXPECT_EQ(cache.find({"NVIDIA L4", 90, kHere.versions}, "s"), nullptr);
  EXPECT_EQ(cache.find(kHere, "t"), nullptr);
}

TEST(CudaTimingCache, merging_does_not_replace) {
  TimingCache first;
  first.add(kHere, "s", {{{"a:1", 1, 1}}, {}, {}});
  TimingCache second;
  second.add(kHere, "s", {{{"b:1", 1, 1}}, {}, {}});
  second.add(kOther, "t", {{{"c:1", 1, 1}}, {}, {}});
  first.merge(second);
  EXPECT_EQ(first.find(kHere, "s")->candidates[0].tactic, "a:1");
  EXPECT_EQ(first.find(kOther, "t")->candidates[0].tactic, "c:1");
  EXPECT_EQ(first.size(), 2U);
}

TEST(CudaTimingCache, comes_back_from_a_file_as_it_was) {
  TimingCache cache;
  cache.add(kHere, "s \"quoted\"", {{{"a:1", 1.23456, 7.0}, {"b:2", 2.5, 8.25}}, {"c: no"}, {}});
  cache.add(kOther, "t", {{{"c:1", 0, 0}}, {}, {}});
  const test::TemporaryFolder folder;
  cache.write(folder.path() / "timing.json");
  const TimingCache read = TimingCache::read(folder.path() / "timing.json");
  EXPECT_EQ(read.to_json(), cache.to_json());
  EXPECT_EQ(*read.find(kHere, "s \"quoted\""), *cache.find(kHere, "s \"quoted\""));
}

TEST(CudaTimingCache, remembers_what_whole_plans_chose) {
  TimingCache cache;
  cache.add(kHere, "s", {{{"a:1", 1, 1}, {"b:1", 2, 2}}, {}, {}});
  EXPECT_EQ(cache.find(kHere, "s")->best(), "a:1");
  cache.choose(kHere, "s", "b:1");
  cache.choose(kHere, "unknown", "b:1");
  cache.choose(kOther, "s", "b:1");
  EXPECT_EQ(cache.find(kHere, "s")->best(), "b:1");
  EXPECT_EQ(cache.uses_lanes(kHere, "plan"), std::nullopt);
  cache.set_uses_lanes(kHere, "plan", false);
  cache.set_uses_lanes(kHere, "other plan", true);
  const TimingCache read = TimingCache::parse(cache.to_json().dump(), "timing.json");
  EXPECT_EQ(read.find(kHere, "s")->best(), "b:1");
  EXPECT_EQ(read.uses_lanes(kHere, "plan"), false);
  EXPECT_EQ(read.uses_lanes(kHere, "other plan"), true);
  EXPECT_EQ(read.uses_lanes(kOther, "plan"), std::nullopt);
  cache.choose(kHere, "s", "a:1");
  EXPECT_EQ(cache.find(kHere, "s")->best(), "a:1");
}

TEST(CudaTimingCache, is_empty_where_there_is_no_file) {
  const test::TemporaryFolder folder;
  EXPECT_EQ(TimingCache::read(folder.path() / "none.json").size(), 0U);
}

TEST(CudaTimingCache, refuses_damaged_files_by_name) {
  for (
      const char* text : {
          "",
          "{",
          "[]",
          R"({"environments": []})",
          R"({"format_version": 2, "environments": []})",
          R"({"format_version": 1, "environments": 3})",
          R"({"format_version": 1, "environments": [{"gpu": "x", "sm": 90, "versions": {}}]})",
          R"({"format_version": 1, "environments": [{"gpu": "x", "sm": 90, "versions": {}, "steps": [{"signature": "s"}]}]})",
          R"({"format_version": 1, "environments": [{"gpu": "x", "sm": 90, "versions": {}, "steps": [{"signature": "s", "candidates": []}]}]})",
          R"({"format_version": 1, "environments": [{"gpu": "x", "sm": 90, "versions": {}, "steps": [{"signature": "s", "candidates": [{"tactic": "a", "warm_us": -1, "cold_us": 0}]}]}]})",
          R"({"format_version": 1, "environments": [{"gpu": "x", "sm": 90, "versions": {}, "steps": [{"signature": "s", "chosen": "b", "candidates": [{"tactic": "a", "warm_us": 1, "cold_us": 0}]}]}]})",
      }) {
    try {
      TimingCache::parse(text, "timing.json");
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << text;
      EXPECT_THAT(error.what(), testing::HasSubstr("timing.json"));
    }
  }
}

}  // namespace
}  // namespace pajamas::cuda

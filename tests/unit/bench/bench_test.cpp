// Tests of bench/: statistics against figures worked out by hand, turns of the
// measuring loop, what the environment says, and that a report takes no figure
// whose outputs were not verified.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <limits>
#include <thread>

#include "base/files.h"
#include "bench/environment.h"
#include "bench/measure.h"
#include "bench/report.h"
#include "bench/statistics.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Statistics, OfKnownSamples) {
  const std::vector<double> samples{4, 1, 3, 2, 10};
  const auto s = statistics_of(samples);
  EXPECT_EQ(s.num_samples, 5U);
  EXPECT_DOUBLE_EQ(s.min, 1);
  EXPECT_DOUBLE_EQ(s.p50, 3);
  EXPECT_DOUBLE_EQ(s.p90, 4 + 0.6 * 6);  // position 3.6 of 0..4
  EXPECT_DOUBLE_EQ(s.max, 10);
  EXPECT_DOUBLE_EQ(s.mean, 4);
  EXPECT_DOUBLE_EQ(s.stdev, std::sqrt(50.0 / 4));
  EXPECT_EQ(to_json(s).at("n"), 5);
}

TEST(Statistics, OfFewSamples) {
  EXPECT_EQ(statistics_of({}).num_samples, 0U);
  EXPECT_EQ(statistics_of({}).p50, 0);
  const std::vector<double> one{7};
  EXPECT_EQ(statistics_of(one).p99, 7);
  EXPECT_EQ(statistics_of(one).stdev, 0);
  const std::vector<double> two{1, 2};
  EXPECT_DOUBLE_EQ(statistics_of(two).p50, 1.5);
  const std::vector<double> infinite{1, std::numeric_limits<double>::infinity()};
  EXPECT_THROW(statistics_of(infinite), Error);
}

void spin(double ms) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double, std::milli>(ms);
  while (std::chrono::steady_clock::now() < end) {
  }
}

TEST(Measure, RunsContendersInTurns) {
  std::string order;
  MeasureOptions options;
  options.num_iterations = 3;
  options.warm_up_seconds = 0;
  options.block_seconds = 0;
  options.pause_seconds = 0;
  const auto results = measure({{"a", [&] { order += 'a'; }}, {"b", [&] { order += 'b'; }}}, options);
  // Two of each to warm up, then blocks of one uncounted and one counted
  // iteration, there and back.
  EXPECT_EQ(order,
            "aabb"
            "aabb"
            "bbaa"
            "aabb");
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].total_ms.num_samples, 3U);
  EXPECT_EQ(results[1].block_p50_ms.size(), 3U);
}

TEST(Measure, GivesTimesThroughputAndRatio) {
  MeasureOptions options;
  options.seconds = 0.05;
  options.warm_up_seconds = 0;
  options.block_seconds = 0.01;
  Contender fast{"fast", [] { spin(1); },
                 [] {
                   return RunTiming{std::chrono::microseconds(250), std::chrono::microseconds(750)};
                 },
                 8};
  Contender slow{"slow", [] { spin(3); }};
  const auto results = measure({fast, slow}, options);
  EXPECT_GE(results[0].total_ms.min, 1.0);
  EXPECT_NEAR(results[0].items_per_second, 8 * 1000 / results[0].total_ms.p50, 1e-6);
  EXPECT_DOUBLE_EQ(results[0].device_ms.p50, 0.75);
  EXPECT_EQ(results[1].device_ms.num_samples, 0U);
  const auto ratio = speed_ratio(results[0], results[1]);
  EXPECT_GT(ratio.of_medians, 1.5);  // three on a quiet machine
  EXPECT_LE(ratio.low, ratio.high);
  EXPECT_FALSE(to_json(results[1]).contains("device_ms"));
}

TEST(Measure, RefusesNonsenseAndStopsWhenCancelled) {
  EXPECT_TRUE(measure({}).empty());
  for (const double seconds : {0.0, -1.0, std::numeric_limits<double>::infinity()}) {
    MeasureOptions options;
    options.seconds = seconds;
    EXPECT_THROW(measure({{"a", [] {}}}, options), Error);
  }
  CancelToken token;
  MeasureOptions options;
  options.progress.cancel = &token;
  int count = 0;
  EXPECT_THROW(measure({{"a",
                         [&] {
                           if (++count == 3) token.cancel();
                         }}},
                       options),
               Error);
  EXPECT_EQ(count, 3);
}

class FakeRoot {
 public:
  FakeRoot() : path_(fs::temp_directory_path() / ("pajamas-env-" + std::to_string(::getpid()))) {}
  ~FakeRoot() { fs::remove_all(path_); }
  void put(const std::string& name, const std::string& text) {
    fs::create_directories((path_ / name).parent_path());
    write_file(path_ / name, std::string_view(text));
  }
  std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

TEST(Environment, SaysWhatMakesFiguresUnsteady) {
  FakeRoot root;
  root.put("proc/cpuinfo",
           "processor\t: 0\nmodel name\t: Test CPU 3000\nphysical id\t: "
           "0\ncore id\t: 0\nflags\t: fpu avx2 amx_bf16\n\n"
           "processor\t: 1\nmodel name\t: Test CPU 3000\nphysical id\t: "
           "0\ncore id\t: 0\nflags\t: fpu avx2 amx_bf16\n");
  root.put("proc/meminfo", "MemTotal:       2048 kB\n");
  root.put("proc/loadavg", "900.5 1 1 1/100 1\n");
  root.put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
  root.put("sys/fs/cgroup/cpu.max", "50000 100000\n");
  const auto json = environment({{"openvino", "1.2"}}, {root.path()});
  EXPECT_EQ(json["cpu"]["model"], "Test CPU 3000");
  EXPECT_EQ(json["cpu"]["num_cores"], 1);
  EXPECT_THAT(json["cpu"]["features"].get<std::vector<std::string>>(), ElementsAre("avx2", "amx_bf16"));
  EXPECT_EQ(json["memory_bytes"], 2048 * 1024);
  EXPECT_EQ(json["versions"]["openvino"], "1.2");
  const std::string warnings = json["warnings"].dump();
  EXPECT_THAT(warnings, HasSubstr("powersave"));
  EXPECT_THAT(warnings, HasSubstr("load 900.5"));
  EXPECT_THAT(warnings, HasSubstr("quota allows 0.5"));
}

TEST(Environment, LeavesOutWhatTheSystemDoesNotSay) {
  const auto json = environment({}, {"/nowhere-at-all"});
  EXPECT_TRUE(json["cpu"]["model"].is_null());
  EXPECT_TRUE(json["memory_bytes"].is_null());
  EXPECT_TRUE(json["governor"].is_null());
  EXPECT_NO_THROW(environment());
}

Figure figure(const std::string& name, double value, std::optional<Goal> goal) {
  Figure f;
  f.name = name;
  f.value = value;
  f.unit = "ms";
  f.goal = goal;
  return f;
}

TEST(Report, JudgesFiguresByTheirGoals) {
  Report report("Vision", environment({}, {"/nowhere"}));
  const auto verified = Verified::by("equal outputs", true);
  report.add(figure("quick", 9.5, Goal{Goal::Kind::kAtMost, 10}), verified);
  report.add(figure("free", 3, std::nullopt), verified);
  EXPECT_FALSE(report.has_failures());
  report.add(figure("exact", 10, Goal{Goal::Kind::kAtLeast, 10}), verified);
  EXPECT_FALSE(report.has_failures());
  report.add(figure("slow|er", 10.5, Goal{Goal::Kind::kAtMost, 10}), verified);
  EXPECT_TRUE(report.has_failures());
  const auto json = report.to_json();
  EXPECT_EQ(json["figures"][0]["is_passed"], true);
  EXPECT_TRUE(json["figures"][1]["is_passed"].is_null());
  EXPECT_EQ(json["figures"][3]["is_passed"], false);
  EXPECT_EQ(json["figures"][0]["verified_by"], "equal outputs");
  EXPECT_THAT(report.to_markdown(), HasSubstr("| slow\\|er | 10.5 ms | ≤ 10 ms | FAIL |"));
  EXPECT_THAT(report.to_text(), HasSubstr("≤ 10 ms"));
}

TEST(Report, TakesNoFigureOfWrongOutputs) {
  try {
    Verified::by("ResNet-50 against onnxruntime", false);
    FAIL() << "wrong outputs were taken as verified";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("ResNet-50"));
  }
  Report report("Vision", nlohmann::json::object());
  EXPECT_THROW(report.add(figure("x", std::numeric_limits<double>::quiet_NaN(), std::nullopt), Verified::by("", true)),
               Error);
  report.add_missing("gpu", Goal{Goal::Kind::kAtMost, 5}, "s", "there is no GPU here");
  EXPECT_TRUE(report.has_failures());
  EXPECT_TRUE(report.to_json()["figures"][0]["value"].is_null());
  EXPECT_THAT(report.to_text(), HasSubstr("not measured"));
}

}  // namespace
}  // namespace pajamas

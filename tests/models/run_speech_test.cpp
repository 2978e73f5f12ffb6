// `pajamas run` on a voice, with the real program: what Whisper hears of what it says, pipes, seeds, speed, and bad
// text. The models are Piper's en_US-joe-medium and Whisper base as published, which tools/fetch_models installs;
// without them or espeak-ng the tests are skipped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "support/program.h"

namespace pajamas::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

fs::path voice() { return fs::path(PAJAMAS_DEPS_DIR) / "models/en_US-joe-medium.onnx"; }
fs::path whisper() { return fs::path(PAJAMAS_DEPS_DIR) / "models/whisper-base"; }

class RunSpeech : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder();
    if (!is_there()) return;
    const ProgramRun run =
        run_program(PAJAMAS_PROGRAM, {"build", voice().string(), "--target", "openvino", "-o", bundle(), "--json"});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_EQ(schema_violations(nlohmann::json::parse(read_file(fs::path(bundle()) / "manifest.json")), "manifest"),
              "");
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  void SetUp() override {
    if (!is_there()) GTEST_SKIP() << voice() << " or espeak-ng is missing: run ./dev setup";
  }
  static bool is_there() { return fs::exists(voice()) && fs::exists("/usr/bin/espeak-ng"); }
  static std::string bundle() { return (folder_->path() / "bundle").string(); }
  static std::string file(const std::string& name) { return (folder_->path() / name).string(); }
  static ProgramRun run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"run", bundle()});
    return run_program(PAJAMAS_PROGRAM, arguments);
  }

  static TemporaryFolder* folder_;
};
TemporaryFolder* RunSpeech::folder_ = nullptr;

TEST_F(RunSpeech, WhisperHearsWhatWasSaid) {
  if (!fs::exists(whisper())) GTEST_SKIP() << whisper() << " is missing: run ./dev setup";
  const ProgramRun spoken = run({"--text", "The weather is very nice today.", "-o", file("said.wav"), "--json"});
  ASSERT_EQ(spoken.exit_code, 0) << spoken.errors;
  EXPECT_EQ(schema_violations(spoken.json(), "run"), "");
  ASSERT_EQ(run_program(PAJAMAS_PROGRAM, {"build", whisper().string(), "--target", "openvino", "--precision", "int8",
                                          "-o", file("whisper")})
                .exit_code,
            0);
  const ProgramRun heard = run_program(PAJAMAS_PROGRAM, {"run", file("whisper"), file("said.wav")});
  ASSERT_EQ(heard.exit_code, 0) << heard.errors;
  EXPECT_EQ(heard.output, "The weather is very nice today.\n");
}

TEST_F(RunSpeech, SentencesLieOneBehindTheOther) {
  std::ofstream(file("text.txt")) << "Good morning, Mr. Smith. It is 3.5 degrees!\n";
  const ProgramRun spoken = run({"--file", file("text.txt"), "-o", file("two.flac"), "--json", "--pause", "0.5"});
  ASSERT_EQ(spoken.exit_code, 0) << spoken.errors;
  const auto result = spoken.json()["results"][0];
  ASSERT_EQ(result["sentences"].size(), 2U);
  EXPECT_EQ(result["sentences"][0]["text"], "Good morning, Mr. Smith.");
  EXPECT_NEAR(result["sentences"][1]["begin_s"].get<double>(), result["sentences"][0]["end_s"].get<double>() + 0.5,
              1e-3);
  EXPECT_NEAR(result["duration_s"].get<double>(), result["sentences"][1]["end_s"].get<double>(), 1e-3);
  EXPECT_GT(result["duration_s"].get<double>(), 2.0);
}

TEST_F(RunSpeech, SeedsSpeedAndPipes) {
  const auto spoken = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"--text", "One two three.", "-o", file("out.wav")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProgramRun done = run(arguments);
    EXPECT_EQ(done.exit_code, 0) << done.errors;
    return read_file(file("out.wav"));
  };
  const std::string first = spoken({});
  EXPECT_EQ(spoken({}), first);
  EXPECT_NE(spoken({"--seed", "7"}), first);
  EXPECT_LT(spoken({"--speed", "2"}).size(), first.size() * 3 / 4);
  const ProgramRun piped =
      run_program(PAJAMAS_PROGRAM, {"run", bundle(), "--file", "-", "-o", "-"}, "printf 'One two three.' | ");
  EXPECT_EQ(piped.exit_code, 0) << piped.errors;
  ASSERT_GT(piped.output.size(), first.size() / 2);
  EXPECT_EQ(piped.output.substr(0, 4), "RIFF");
  const std::size_t tail = 10000;
  EXPECT_EQ(piped.output.substr(piped.output.size() - tail), first.substr(first.size() - tail));
}

TEST_F(RunSpeech, WhatCannotBeSpokenIsNamed) {
  const auto refused = [](std::vector<std::string> arguments, int exit_code, const std::string& text) {
    arguments.insert(arguments.end(), {"-o", file("none.wav")});
    const ProgramRun done = run(arguments);
    EXPECT_EQ(done.exit_code, exit_code) << done.errors;
    EXPECT_THAT(done.errors, HasSubstr(text));
    EXPECT_FALSE(fs::exists(file("none.wav")));
  };
  refused({"--text", "..."}, 4, "nothing that can be spoken");
  refused({"--text", ""}, 4, "nothing that can be spoken");
  refused({"--text", "caf\xE9"}, 4, "UTF-8");
  refused({"--file", file("missing.txt")}, 4, "missing.txt");
  refused({}, 2, "--text");
  refused({"--text", "a", "--file", "b"}, 2, "--file");
  refused({"--text", "a", "--speaker", "5"}, 2, "speaker");
  refused({"--text", "a", "--speed", "9"}, 2, "--speed");
  refused({"--text", "a", "--beam", "2"}, 2, "--beam");
  EXPECT_EQ(run({"--text", "a"}).exit_code, 2) << "no place for the sound";
  EXPECT_EQ(run({"--text", "a", "-o", "x.mp3"}).exit_code, 2);
  const ProgramRun alone =
      run_program(PAJAMAS_PROGRAM, {"run", bundle(), "--text", "Hello.", "-o", file("none.wav")}, "PATH=/nowhere ");
  EXPECT_EQ(alone.exit_code, 5) << alone.errors;
  EXPECT_THAT(alone.errors, HasSubstr("apt install espeak-ng"));
}

}  // namespace
}  // namespace pajamas::test

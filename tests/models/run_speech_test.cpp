// `pajamas run` on a voice, with the real program: what Whisper hears of what it says, pipes, seeds, speed, and bad
// text. The models are Piper's en_US-joe-medium and Whisper base as published, which tools/fetch_models installs;
// without them or espeak-ng the tests are skipped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "bundle/bundle.h"
#include "pajamas/speech.h"
#include "support/program.h"
#include "tasks/speech/phoneme_ids.h"
#include "tasks/speech/phonemizer.h"
#include "verify/onnxruntime_reference.h"

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

/// Without noise the published graph draws nothing that matters, so ONNX Runtime can say what the sound should be: of
/// sentences of one window, of many, and shorter than all of them.
TEST_F(RunSpeech, TheSoundIsThatOfThePublishedGraph) {
  const Bundle bundle = Bundle::open(RunSpeech::bundle());
  const SpeechFacts& facts = bundle.manifest().task.speech.value();
  PhonemeIds phoneme_ids(facts);
  Phonemizer phonemizer(facts.espeak_voice, "espeak-ng");
  const OnnxRuntimeSession published(voice(), {});
  SpeechSynthesizer synthesizer(RunSpeech::bundle(), {});
  SpeechOptions options;
  options.noise_scale = 0;
  options.noise_width = 0;
  for (const char* text : {"A.", "Hello there.", "It rained all night and the river rose quickly.",
                           "The people of the village came together and talked for a long time about what they could "
                           "do, for the old bridge was gone, and nobody knew who would pay for another one."}) {
    const std::u32string phonemes = sentence_phonemes(
        split_speech(text).at(0), [&](std::string_view clause) { return phonemizer.phonemes_of(clause); });
    const std::vector<std::int64_t> ids = phoneme_ids.ids_of(phonemes);
    const auto length = static_cast<std::int64_t>(ids.size());
    const Tensor expected_tensor =
        published.run({{"input", Tensor::of<std::int64_t>(Shape{1, length}, std::span<const std::int64_t>(ids))},
                       {"input_lengths", Tensor::of<std::int64_t>(Shape{1}, {length})},
                       {"scales", Tensor::of<float>(Shape{3}, {0, 1, 0})}})[0];
    const auto expected = expected_tensor.as<float>();
    const std::vector<float> samples = synthesizer.speak(text, options);
    ASSERT_EQ(samples.size(), expected.size()) << text;
    double peak = 0, error = 0, energy = 0;
    for (const float sample : expected) peak = std::max(peak, std::abs(static_cast<double>(sample)));
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const double wanted = static_cast<double>(expected[i]) / peak;
      error += std::pow(static_cast<double>(samples[i]) - wanted, 2);
      energy += wanted * wanted;
    }
    // The decoder may be bfloat16; 30 dB is also what a window in the wrong place would miss by far.
    EXPECT_LT(error, energy * 1e-3) << text << ": " << 10 * std::log10(energy / error) << " dB";
  }
}

/// An espeak-ng that dies over the first sentence, and one that always does.
TEST_F(RunSpeech, AnotherEspeakTakesOver) {
  fs::create_directories(file("bin"));
  const auto put = [](const std::string& lines) {
    std::ofstream(file("bin/espeak-ng")) << "#!/bin/sh\n" << lines << "\n";
    fs::permissions(file("bin/espeak-ng"), fs::perms::owner_all);
  };
  const std::string marks = "for mark in a a b b; do read -r line; echo $mark; done; read -r line; exit 1";
  const std::vector<std::string> arguments{"run", bundle(), "--text", "Hello. There.", "-o", file("over.wav")};
  const std::string path = "PATH=" + file("bin") + ":$PATH ";
  put("if [ -e " + file("died") + " ]; then exec /usr/bin/espeak-ng \"$@\"; fi; : > " + file("died") + "; " + marks);
  const ProgramRun once = run_program(PAJAMAS_PROGRAM, arguments, path);
  EXPECT_EQ(once.exit_code, 0) << once.errors;
  EXPECT_THAT(once.errors, HasSubstr("started again"));
  EXPECT_TRUE(fs::exists(file("over.wav")));
  fs::remove(file("over.wav"));
  put(marks);
  const ProgramRun always = run_program(PAJAMAS_PROGRAM, arguments, path);
  EXPECT_NE(always.exit_code, 0);
  EXPECT_THAT(always.errors, HasSubstr("ended while it was being used"));
  EXPECT_FALSE(fs::exists(file("over.wav"))) << "no half file";
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
  std::ofstream(file("empty.txt"));
  refused({"--file", file("empty.txt")}, 4, "nothing that can be spoken");
  refused({"--file", bundle() + "/text.onnx"}, 4, "UTF-8");
  refused({"--text", "a", "--speed", "nan"}, 2, "speed");
  refused({"--text", "a", "--noise", "inf"}, 2, "noise");
  refused({"--text", "a", "--pause", "-1"}, 2, "--pause");
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

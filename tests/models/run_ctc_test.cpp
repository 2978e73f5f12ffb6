// `pajamas build`, `run` and `verify` on a CTC model, with the real program: formats, words, long audio, beams with a
// language model, and what it says to options and audio that cannot be. The model is a tiny Wav2Vec2 that was taught a
// language of tones (tools/goldens/make_ctc_tones.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "support/program.h"
#include "support/spoken_tones.h"
#include "targets/registry.h"

namespace pajamas::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string in_one_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

class RunCtc : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder();
    if (!is_there()) return;
    const ProgramRun run =
        run_program(PAJAMAS_PROGRAM, {"build", std::string(PAJAMAS_TEST_DATA) + "/ctc/tones", "--target", "openvino",
                                      "--precision", "fp32", "--threads", "1", "-o", bundle()});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    write("said.wav", spoken_tones("ABBA CAFE DAD"));
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  void SetUp() override {
    if (!is_there()) GTEST_SKIP() << "no target for it is built in";
  }
  static bool is_there() {
    return std::any_of(targets().begin(), targets().end(), [](const auto* one) { return one->name() == "openvino"; });
  }
  static std::string bundle() { return (folder_->path() / "bundle").string(); }
  static std::string file(const std::string& name) { return (folder_->path() / name).string(); }
  static void write(const std::string& name, const std::vector<float>& samples) { write_tones(file(name), samples); }
  static ProgramRun run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"run", bundle(), "--threads", "1"});
    return run_program(PAJAMAS_PROGRAM, arguments);
  }
  static TemporaryFolder* folder_;
};
TemporaryFolder* RunCtc::folder_ = nullptr;

TEST_F(RunCtc, EveryFormatHoldsWhatWasSaid) {
  const ProgramRun txt = run({file("said.wav")});
  ASSERT_EQ(txt.exit_code, 0) << txt.errors;
  EXPECT_EQ(txt.output, "ABBA CAFE DAD\n");
  EXPECT_THAT(txt.errors, HasSubstr("language unknown"));
  EXPECT_THAT(run({file("said.wav"), "--format", "srt"}).output, testing::StartsWith("1\n00:00:00,1"));
  EXPECT_THAT(run({file("said.wav"), "--format", "vtt", "--words"}).output, HasSubstr("\nCAFE\n"));
  EXPECT_THAT(run({file("said.wav"), "--format", "tsv"}).output, HasSubstr("ABBA CAFE DAD"));
  const ProgramRun whole = run({file("said.wav"), "--json", "--beam", "8"});
  EXPECT_EQ(schema_violations(whole.json(), "run"), "");
  const ProgramRun piped =
      run_program(PAJAMAS_PROGRAM, {"run", bundle(), "-"}, "cat " + shell_quoted(file("said.wav")) + " | ");
  EXPECT_EQ(piped.output, txt.output);
}

TEST_F(RunCtc, WordsBeginWhereTheyAreSaid) {
  std::vector<double> begins;
  write("words.wav", spoken_tones("FED A BEAD CAB", &begins));
  for (const char* beams : {"1", "8"}) {
    const ProgramRun result = run({file("words.wav"), "--format", "json", "--words", "--beam", beams});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    const auto transcript = nlohmann::json::parse(result.output);
    EXPECT_EQ(schema_violations(transcript, "transcript"), "");
    std::size_t next = 0;
    for (const auto& segment : transcript["segments"]) {
      for (const auto& word : segment["words"]) {
        ASSERT_LT(next, begins.size());
        EXPECT_NEAR(word["begin_s"].get<double>(), begins[next++], 0.08);
        EXPECT_GT(word["probability"].get<double>(), 0.5);
      }
    }
    EXPECT_EQ(next, begins.size());
  }
}

/// Longer than three windows, with and without pauses that end segments.
TEST_F(RunCtc, LongAudioIsReadToItsEnd) {
  std::mt19937 random(7);
  std::string text;
  std::vector<float> samples;
  while (samples.size() < 70U * kToneRate) {
    std::string sentence;
    for (int word = 0; word < 12; ++word) {
      sentence += word == 0 ? "" : " ";
      for (std::uint32_t i = 0; i < 1 + random() % 5; ++i) sentence += static_cast<char>('A' + random() % 6);
    }
    text += (text.empty() ? "" : " ") + sentence;
    const std::vector<float> said = spoken_tones(sentence);
    samples.insert(samples.end(), said.begin(), said.end());
    if (random() % 2 == 0) samples.resize(samples.size() + 12000, 0.0F);
  }
  write("long.wav", samples);
  const ProgramRun result = run({file("long.wav"), "--format", "json"});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const auto transcript = nlohmann::json::parse(result.output);
  EXPECT_EQ(in_one_line(transcript["text"]), text);
  EXPECT_GT(transcript["segments"].size(), 2U);
  EXPECT_NEAR(transcript["duration_s"].get<double>(), static_cast<double>(samples.size()) / kToneRate, 0.001);
}

TEST_F(RunCtc, ALanguageModelAndHotWordsDecideWhatIsUnclear) {
  // The third letter is B and C at once.
  std::vector<float> samples = spoken_tones("ABBA");
  const std::vector<float> other = spoken_tones("ABCA");
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = 0.5F * (samples[i] + other[i]);
  write("unclear.wav", samples);
  std::ofstream(file("words.arpa"))
      << "\\data\\\nngram 1=4\n\\1-grams:\n-99 <s>\n-1 </s>\n-0.1 abba\n-5 abca\n\\end\\\n";
  std::ofstream(file("others.arpa"))
      << "\\data\\\nngram 1=4\n\\1-grams:\n-99 <s>\n-1 </s>\n-5 abba\n-0.1 abca\n\\end\\\n";
  const std::vector<std::string> search{file("unclear.wav"), "--beam", "32"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), search.begin(), search.end());
    const ProgramRun result = run(more);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return in_one_line(result.output);
  };
  EXPECT_EQ(with({"--lm", file("words.arpa"), "--lm-weight", "10"}), "ABBA");
  EXPECT_EQ(with({"--lm", file("others.arpa"), "--lm-weight", "10"}), "ABCA");
  const std::string alone = with({});
  EXPECT_EQ(with({"--lm", file("words.arpa"), "--lm-weight", "0"}), alone);
}

TEST_F(RunCtc, OptionsWithoutAMeaningAreRefusedByName) {
  const auto refused = [&](std::vector<std::string> arguments, const char* name) {
    arguments.insert(arguments.begin(), file("said.wav"));
    const ProgramRun result = run(arguments);
    EXPECT_EQ(result.exit_code, 2) << name << result.errors;
    EXPECT_THAT(result.errors, HasSubstr(name));
    EXPECT_EQ(result.output, "");
  };
  refused({"--language", "en"}, "--language");
  refused({"--translate"}, "--translate");
  refused({"--initial-prompt", "A"}, "--initial-prompt");
  refused({"--carry"}, "--carry");
  refused({"--batch", "4"}, "--batch");
  refused({"--hot-words", "ABBA"}, "--hot-words");
  refused({"--lm", file("words.arpa")}, "--lm");
  refused({"--beam", "4", "--lm-weight", "1"}, "--lm-weight");
  refused({"--beam", "4", "--word-bonus", "1"}, "--word-bonus");
  refused({"--beam", "2000"}, "--beam");
  const ProgramRun vad = run({file("said.wav"), "--vad", "on"});
  EXPECT_NE(vad.exit_code, 0);
  EXPECT_THAT(vad.errors, HasSubstr("--vad"));
}

TEST_F(RunCtc, BadFilesAreNamed) {
  std::ofstream(file("text.wav")) << "this is no audio at all";
  std::ofstream(file("text.arpa")) << "this is no language model";
  std::ofstream(file("letters.arpa")) << "\\data\\\nngram 1=1\n\\1-grams:\n-1 zzz\n\\end\\\n";
  const ProgramRun audio = run({file("text.wav")});
  EXPECT_EQ(audio.exit_code, 4) << audio.errors;
  EXPECT_THAT(audio.errors, HasSubstr("text.wav"));
  for (const char* name : {"text.arpa", "none.arpa"}) {
    const ProgramRun result = run({file("said.wav"), "--beam", "4", "--lm", file(name)});
    EXPECT_EQ(result.exit_code, 4) << result.errors;
    EXPECT_THAT(result.errors, HasSubstr(name));
  }
  const ProgramRun letters = run({file("said.wav"), "--beam", "4", "--lm", file("letters.arpa")});
  EXPECT_EQ(letters.exit_code, 2) << letters.errors;
  EXPECT_THAT(letters.errors, HasSubstr("spelled"));
  // A hundredth of a second, and silence.
  write("short.wav", std::vector<float>(160, 0.1F));
  write("silence.wav", std::vector<float>(5 * kToneRate, 0.0F));
  for (const char* name : {"short.wav", "silence.wav"}) {
    const ProgramRun result = run({file(name)});
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_EQ(result.output, "") << name;
  }
}

TEST_F(RunCtc, TheBundleIsVerifiedAndMeasured) {
  const ProgramRun verified = run_program(PAJAMAS_PROGRAM, {"verify", bundle(), "--threads", "1", "--json"});
  EXPECT_EQ(verified.exit_code, 0) << verified.errors;
  const ProgramRun inspected = run_program(PAJAMAS_PROGRAM, {"inspect", bundle(), "--json"});
  EXPECT_EQ(inspected.exit_code, 0) << inspected.errors;
  std::ifstream manifest(bundle() + "/manifest.json");
  EXPECT_EQ(schema_violations(nlohmann::json::parse(manifest), "manifest"), "");
}

}  // namespace
}  // namespace pajamas::test

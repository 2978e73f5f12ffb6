// `pajamas run` on a speech model, with the real program: formats, files and pipes, noise, and what it says to bad
// audio. The model is Whisper tiny.en as published, which tools/fetch_models installs; without it the tests are
// skipped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "media/audio_reader.h"
#include "media/audio_writer.h"
#include "pajamas/transcription.h"
#include "support/program.h"

namespace pajamas::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

const fs::path kClips = "/usr/share/pocketsphinx/test/data/librivox";
constexpr const char* kClip = "sense_and_sensibility_01_austen_64kb-0870.wav";

fs::path model() { return fs::path(PAJAMAS_DEPS_DIR) / "models/whisper-tiny.en"; }

std::string in_one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

class RunTranscription : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder();
    if (!is_there()) return;
    const ProgramRun run = run_program(
        PAJAMAS_PROGRAM, {"build", model().string(), "--target", "openvino", "--precision", "int8", "--vad",
                          (fs::path(PAJAMAS_DEPS_DIR) / "models/silero_vad.onnx").string(), "-o", bundle()});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  void SetUp() override {
    if (!is_there()) GTEST_SKIP() << model() << " or " << kClips << " is missing: run ./dev setup";
  }
  static bool is_there() { return fs::exists(model()) && fs::exists(kClips / kClip); }
  static std::string bundle() { return (folder_->path() / "bundle").string(); }
  static std::string clip() { return (kClips / kClip).string(); }
  static std::string file(const std::string& name) { return (folder_->path() / name).string(); }
  static ProgramRun run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"run", bundle()});
    return run_program(PAJAMAS_PROGRAM, arguments);
  }
  static std::string text_of(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  static void write_audio(const std::string& path, std::int64_t num_samples, float (*sample)(std::int64_t)) {
    std::vector<float> samples;
    for (std::int64_t i = 0; i < num_samples; ++i) samples.push_back(sample(i));
    AudioWriter writer(path, AudioFileFormat::kWavInt16, 16000);
    writer.write(samples);
    writer.finish();
  }

  static TemporaryFolder* folder_;
};
TemporaryFolder* RunTranscription::folder_ = nullptr;

TEST_F(RunTranscription, EveryFormatHoldsWhatWasSaid) {
  const std::string said = "leisure to consider how much there might be prudently in his power to do for them";
  const ProgramRun txt = run({clip()});
  ASSERT_EQ(txt.exit_code, 0) << txt.errors;
  EXPECT_THAT(in_one_line(txt.output), HasSubstr(said));
  const ProgramRun srt = run({clip(), "--format", "srt", "--beam", "5"});
  EXPECT_THAT(srt.output, testing::StartsWith("1\n00:00:0"));
  EXPECT_THAT(srt.output, HasSubstr(" --> 00:00:0"));
  const ProgramRun vtt = run({clip(), "--format", "vtt"});
  EXPECT_THAT(vtt.output, testing::StartsWith("WEBVTT\n\n00:00:0"));
  const ProgramRun json = run({clip(), "--format", "json"});
  const auto transcript = nlohmann::json::parse(json.output);
  EXPECT_THAT(in_one_line(transcript["text"]), HasSubstr(said));
  EXPECT_NEAR(transcript["duration_s"].get<double>(), 7.1, 0.01);
  EXPECT_EQ(schema_violations(transcript, "transcript"), "");
  const ProgramRun whole = run({clip(), "--json"});
  EXPECT_EQ(schema_violations(whole.json(), "run"), "");
}

TEST_F(RunTranscription, SamplesWithoutAHeaderAreHeard) {
  const std::string whole = text_of(clip());
  std::ofstream(file("samples.raw"), std::ios::binary) << whole.substr(44);  // behind the header of WAV
  const ProgramRun raw = run({file("samples.raw"), "--raw-audio", "s16le:16000"});
  ASSERT_EQ(raw.exit_code, 0) << raw.errors;
  EXPECT_EQ(raw.output, run({clip()}).output);
  EXPECT_EQ(run({file("samples.raw")}).exit_code, 4);
  EXPECT_EQ(run({file("samples.raw"), "--raw-audio", "s16le"}).exit_code, 2);
}

TEST_F(RunTranscription, WordsLieInOrderWithinTheAudio) {
  const ProgramRun result = run({clip(), "--format", "json", "--words"});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const auto transcript = nlohmann::json::parse(result.output);
  EXPECT_EQ(schema_violations(transcript, "transcript"), "");
  double last = 0;
  std::string text;
  for (const auto& segment : transcript["segments"]) {
    for (const auto& word : segment["words"]) {
      EXPECT_GE(word["begin_s"].get<double>(), last - 1e-6);
      EXPECT_GE(word["end_s"], word["begin_s"]);
      last = word["begin_s"];
      text += word["text"];
    }
  }
  EXPECT_LE(last, 7.1);
  EXPECT_THAT(text, HasSubstr(" leisure to consider"));
}

TEST_F(RunTranscription, FilesAndPipesGiveTheSame) {
  const std::string from_file = run({clip()}).output;
  const ProgramRun piped = run_program(PAJAMAS_PROGRAM, {"run", bundle(), "-"}, "cat " + shell_quoted(clip()) + " | ");
  EXPECT_EQ(piped.exit_code, 0) << piped.errors;
  EXPECT_EQ(piped.output, from_file);
  const ProgramRun written = run({clip(), "-o", file("out.srt"), "--format", "srt"});
  EXPECT_EQ(written.exit_code, 0) << written.errors;
  EXPECT_EQ(written.output, "");
  EXPECT_THAT(text_of(file("out.srt")), HasSubstr("leisure"));
}

TEST_F(RunTranscription, SilenceAndHumAreNoWords) {
  write_audio(file("silence.wav"), 16000 * 40, [](std::int64_t) { return 0.0F; });
  write_audio(file("hum.wav"), 16000 * 40, [](std::int64_t i) {
    return 0.3F * static_cast<float>(std::sin(2 * 3.14159265 * 50 * static_cast<double>(i) / 16000));
  });
  for (const char* name : {"silence.wav", "hum.wav"}) {
    const ProgramRun result = run({file(name)});
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_EQ(result.output, "") << name;
  }
}

TEST_F(RunTranscription, ASentenceSaidAgainAndAgainIsNoLoop) {
  // Twelve times with pauses: more than one chunk, and a text that compresses like a loop.
  AudioReader reader((kClips / "sense_and_sensibility_01_austen_64kb-0880.wav"));
  std::vector<float> sentence, block(16000);
  while (const std::size_t count = reader.read(block))
    sentence.insert(sentence.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(count));
  {
    AudioWriter writer(file("again.wav"), AudioFileFormat::kWavInt16, 16000);
    for (int i = 0; i < 12; ++i) {
      writer.write(sentence);
      writer.write(std::vector<float>(16000, 0.0F));
    }
    writer.finish();
  }
  const ProgramRun result = run({file("again.wav")});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  std::size_t times = 0;
  for (std::size_t at = 0; (at = result.output.find("young man", at)) != std::string::npos; ++at) ++times;
  EXPECT_EQ(times, 12U) << result.output;
}

TEST_F(RunTranscription, BadAudioIsNamed) {
  std::ofstream(file("text.wav")) << "this is no audio at all";
  std::ofstream(file("empty.wav")) << "";
  for (const char* name : {"text.wav", "empty.wav", "missing.wav"}) {
    const ProgramRun result = run({file(name)});
    EXPECT_EQ(result.exit_code, 4) << result.errors;
    EXPECT_THAT(result.errors, HasSubstr(name));
    EXPECT_EQ(result.output, "");
  }
  // A file that was cut off gives what is there, and says so.
  const std::string whole = text_of(clip());
  std::ofstream(file("cut.wav"), std::ios::binary) << whole.substr(0, whole.size() / 2);
  const ProgramRun cut = run({file("cut.wav")});
  EXPECT_EQ(cut.exit_code, 0) << cut.errors;
  EXPECT_THAT(cut.output, HasSubstr("leisure"));
  EXPECT_THAT(cut.errors, HasSubstr("cut.wav"));
  // A hundredth of a second.
  write_audio(file("short.wav"), 160, [](std::int64_t) { return 0.1F; });
  const ProgramRun tiny = run({file("short.wav")});
  EXPECT_EQ(tiny.exit_code, 0) << tiny.errors;
  EXPECT_EQ(tiny.output, "");
}

TEST_F(RunTranscription, OptionsThatCannotBeAreRefused) {
  EXPECT_EQ(run({}).exit_code, 2);
  EXPECT_EQ(run({clip(), "--language", "de"}).exit_code, 2) << "the model knows English alone";
  EXPECT_EQ(run({clip(), "--translate"}).exit_code, 2);
  EXPECT_EQ(run({clip(), "--beam", "0"}).exit_code, 2);
  EXPECT_EQ(run({clip(), "--format", "doc"}).exit_code, 2);
  EXPECT_EQ(run({clip(), "--threshold", "0.5"}).exit_code, 2);
  EXPECT_EQ(run({clip(), clip(), "--format", "srt"}).exit_code, 2) << "two subtitles in one output";
}

}  // namespace
}  // namespace pajamas::test

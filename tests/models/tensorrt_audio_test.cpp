// Speech models for the target tensorrt, built without its GPU: which parts come out and what proves them, `verify
// --audio` on the graphs behind the engines, and what cannot be. Tiny checkpoints; with the published weights of
// Whisper tiny.en and Piper's voice, which tools/fetch_models installs, also those.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "support/program.h"
#include "support/spoken_tones.h"

namespace pajamas::test {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

const fs::path kClips = "/usr/share/pocketsphinx/test/data/librivox";

fs::path data(const std::string& name) { return fs::path(PAJAMAS_TEST_DATA) / name; }
fs::path model(const std::string& name) { return fs::path(PAJAMAS_DEPS_DIR) / "models" / name; }

ProgramRun pajamas(const std::vector<std::string>& arguments) { return run_program(PAJAMAS_PROGRAM, arguments); }

class TensorRtAudio : public testing::Test {
 protected:
  void SetUp() override {
    static const bool can_build = [] {
      const nlohmann::json targets = pajamas({"doctor", "--json"}).json()["targets"];
      return targets.contains("tensorrt") && targets["tensorrt"].value("can_build", false);
    }();
    if (!can_build) GTEST_SKIP() << "no TensorRT library that builds here: run ./dev setup";
  }

  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  ProgramRun build(const fs::path& source, const std::string& name, std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"build", source.string(), "--target", "tensorrt", "--threads", "2", "-o", path(name)});
    if (std::find(more.begin(), more.end(), "--gpu") == more.end()) more.insert(more.end(), {"--gpu", "sm89,sm120"});
    return pajamas(more);
  }
  nlohmann::json manifest(const std::string& name) const {
    return nlohmann::json::parse(read_file(fs::path(path(name)) / "manifest.json"));
  }
  /// Parts with the precision that their lowered model was judged in; all of them must have passed.
  std::vector<std::string> proven_parts(const std::string& name) const {
    std::vector<std::string> parts;
    const nlohmann::json described = manifest(name);
    for (const auto& part : described["parts"]) {
      const auto& proof = part["proof"];
      EXPECT_TRUE(proof["is_passed"].get<bool>()) << part["name"] << proof["summary"];
      EXPECT_EQ(schema_violations(proof, "proof"), "");
      EXPECT_EQ(proof["candidates"].size(), 1U) << "the engine cannot have run";
      EXPECT_EQ(part["target_facts"]["gpu_sms"], (nlohmann::json{"sm89", "sm120"}));
      parts.push_back(part["name"].get<std::string>() + " " + proof["candidates"][0]["precision"].get<std::string>());
      for (const auto& file : part["files"]) {
        EXPECT_TRUE(fs::exists(fs::path(path(name)) / file["name"].get<std::string>())) << file;
        EXPECT_FALSE(file["name"].get<std::string>().ends_with(".data")) << "weights that no model refers to";
      }
    }
    return parts;
  }
  void expect_failure(const std::vector<std::string>& arguments, int code, const std::string& text) const {
    const ProgramRun run = pajamas(arguments);
    EXPECT_EQ(run.exit_code, code) << run.errors << run.output;
    EXPECT_THAT(run.errors, HasSubstr(text));
  }

  TemporaryFolder folder_;
};

TEST_F(TensorRtAudio, WhisperIsBuiltWithADenseCache) {
  for (const char* precision : {"fp16", "int8"}) {
    SCOPED_TRACE(precision);
    const std::string name = std::string("whisper_") + precision;
    const ProgramRun built = build(data("whisper/tiny"), name, {"--precision", precision});
    ASSERT_EQ(built.exit_code, 0) << built.errors;
    EXPECT_THAT(proven_parts(name), ElementsAre("encoder fp16", "decoder fp16", "aligner fp16"));
    const nlohmann::json described = manifest(name);
    EXPECT_EQ(schema_violations(described, "manifest"), "");
    const auto& decoder = described["parts"][1];
    EXPECT_THAT(decoder["proof"]["candidates"][0]["what"].get<std::string>(), HasSubstr("through its cache"));
    std::map<std::string, nlohmann::json> shapes;
    for (const auto& input : decoder["inputs"]) shapes[input["name"]] = input["shape"];
    EXPECT_EQ(shapes["past_key.0"], (nlohmann::json{"num_past_sequences", 3, 32, 8}));
    EXPECT_EQ(shapes.count("block_indices"), 0U);

    const ProgramRun inspected = pajamas({"inspect", path(name), "--json"});
    EXPECT_EQ(schema_violations(inspected.json(), "inspect"), "");
    const ProgramRun verified = pajamas({"verify", path(name), "--json"});
    EXPECT_EQ(verified.exit_code, 0) << verified.errors << verified.output;
    EXPECT_EQ(schema_violations(verified.json(), "verify"), "");
    write_tones(path("tones.wav"), spoken_tones("ABBA"));
    const ProgramRun run = pajamas({"run", path(name), path("tones.wav")});
    EXPECT_TRUE(run.exit_code == 5 || run.exit_code == 3) << run.exit_code << run.errors;
  }
}

TEST_F(TensorRtAudio, LettersAreHeardByTheGraphsBehindTheEngine) {
  const ProgramRun built = build(data("ctc/tones"), "tones", {"--precision", "fp16"});
  ASSERT_EQ(built.exit_code, 0) << built.errors;
  EXPECT_THAT(proven_parts("tones"), ElementsAre("model fp16"));
  write_tones(path("one.wav"), spoken_tones("ABBA CAFE"));
  write_tones(path("two.wav"), spoken_tones("DAD"));
  std::ofstream(path("one.txt")) << "Abba, caf\u00e9... CAFE";
  std::ofstream(path("two.txt")) << "dad\n";
  std::ofstream(path("empty.txt")) << " .\n";

  const ProgramRun by_reference =
      pajamas({"verify", path("tones"), "--audio", path("one.wav"), path("two.wav"), "--json"});
  ASSERT_EQ(by_reference.exit_code, 0) << by_reference.errors << by_reference.output;
  EXPECT_EQ(schema_violations(by_reference.json(), "verify_audio"), "");
  const nlohmann::json audio = by_reference.json()["audio"];
  EXPECT_EQ(audio["wer_percent"], 0.0);
  EXPECT_EQ(audio["words"], 3);
  EXPECT_EQ(audio["compared_with"], "reference");
  EXPECT_EQ(audio["max_wer_percent"], 3.0);
  EXPECT_THAT(audio["ran"].get<std::string>(), HasSubstr("ONNX Runtime"));
  EXPECT_THAT(audio["note"].get<std::string>(), HasSubstr("have not run"));
  EXPECT_EQ(audio["files"][1]["heard"], "DAD");

  // A word of the text that was not said: one of four is past the limit, until a looser one is given.
  const std::vector<std::string> with_text{"verify",  path("tones"),   "--audio", path("one.wav"),
                                           "--audio", path("two.wav"), "--text",  path("one.txt"),
                                           "--text",  path("two.txt")};
  const ProgramRun strict = pajamas(with_text);
  EXPECT_EQ(strict.exit_code, 3) << strict.errors << strict.output;
  EXPECT_THAT(strict.output, HasSubstr("word error rate 25.00 % of 4 words (0 other, 1 missing, 0 added)"));
  EXPECT_THAT(strict.output, HasSubstr("FAILED"));
  std::vector<std::string> loose = with_text;
  loose.insert(loose.end(), {"--max-wer", "25", "--json"});
  const ProgramRun passed = pajamas(loose);
  EXPECT_EQ(passed.exit_code, 0) << passed.errors << passed.output;
  EXPECT_EQ(schema_violations(passed.json(), "verify_audio"), "");
  EXPECT_EQ(passed.json()["audio"]["missing"], 1);
  EXPECT_EQ(passed.json()["audio"]["compared_with"], "text");

  const std::string bundle = path("tones"), one = path("one.wav"), text = path("one.txt");
  expect_failure({"verify", bundle, "--audio"}, 2, "--audio");
  expect_failure({"verify", bundle, "--audio", path("none.wav")}, 4, "none.wav");
  expect_failure({"verify", bundle, "--audio", text}, 4, "one.txt");
  expect_failure({"verify", bundle, "--audio", one, path("two.wav"), "--text", text}, 2, "1 texts for 2 recordings");
  expect_failure({"verify", bundle, "--audio", one, "--text", path("empty.txt")}, 4, "holds no word");
  expect_failure({"verify", bundle, "--audio", one, "--text", path("none.txt")}, 4, "none.txt");
  expect_failure({"verify", bundle, "--audio", one, "--max-wer", "-1"}, 2, "--max-wer");
  expect_failure({"verify", bundle, "--max-wer", "3"}, 2, "--audio");
  expect_failure({"verify", bundle, "--audio", one, "--per-layer"}, 2, "--per-layer");
  expect_failure({"verify", bundle, "--text", text}, 3, "--audio");
  expect_failure({"verify", bundle, "--text", text, "--text", text}, 2, "several texts");
  expect_failure({"verify", bundle, "--audio", one, "--source", text}, 4, "differs");
}

TEST_F(TensorRtAudio, WhatCannotBeBuiltIsNamed) {
  const std::string tiny = data("whisper/tiny").string();
  const auto refused = [&](std::vector<std::string> more, int code, const std::string& text) {
    more.insert(more.begin(), {"build", tiny, "--target", "tensorrt", "-o", path("refused")});
    expect_failure(more, code, text);
    EXPECT_FALSE(fs::exists(path("refused")));
  };
  refused({"--context", "33"}, 2, "takes 32 tokens");
  refused({"--gpu", "sm90"}, 3, "sm90");
  refused({"--shapes", "num_chunk:1,1,2"}, 2, "it has: ");
  refused({"--shapes", "num_chunks:1x2"}, 2, "does not rise from 1 on");
  refused({"--gpu", "sm89", "--precision", "int4"}, 3, "use --precision int8 or fp16");
}

TEST_F(TensorRtAudio, TinyEnglishWhisperHearsWhatWasSaid) {
  const std::string clip = (kClips / "sense_and_sensibility_01_austen_64kb-0870.wav").string();
  if (!fs::exists(model("whisper-tiny.en")) || !fs::exists(clip)) {
    GTEST_SKIP() << model("whisper-tiny.en") << " or " << kClips << " is missing: run ./dev setup";
  }
  const ProgramRun built =
      build(model("whisper-tiny.en"), "english", {"--precision", "fp16", "--shapes", "num_chunks:1,1,2"});
  ASSERT_EQ(built.exit_code, 0) << built.errors;
  EXPECT_THAT(proven_parts("english"), ElementsAre("encoder fp16", "decoder fp16", "aligner fp16", "voice fp32"));
  std::ofstream(path("said.txt")) << "and mister john dashwood had then leisure to consider how much there might be "
                                     "prudently in his power to do for them";
  const ProgramRun verified =
      pajamas({"verify", path("english"), "--audio", clip, "--text", path("said.txt"), "--json"});
  EXPECT_EQ(verified.exit_code, 0) << verified.errors << verified.output;
  EXPECT_LE(verified.json()["audio"]["wer_percent"].get<double>(), 5.0) << verified.output;
  EXPECT_EQ(verified.json()["audio"]["words"], 22);
}

TEST_F(TensorRtAudio, AVoiceIsBuiltInItsParts) {
  const fs::path voice = model("en_US-joe-medium.onnx");
  if (!fs::exists(voice)) GTEST_SKIP() << voice << " is missing: run ./dev setup";
  const ProgramRun built = build(voice, "voice", {"--precision", "fp16"});
  ASSERT_EQ(built.exit_code, 0) << built.errors;
  EXPECT_THAT(proven_parts("voice"), ElementsAre("text fp32", "align fp32", "flow fp32", "decoder fp16"));
  EXPECT_EQ(schema_violations(manifest("voice"), "manifest"), "");
  const ProgramRun run = pajamas({"run", path("voice"), "--text", "Hello", "-o", path("hello.wav")});
  EXPECT_TRUE(run.exit_code == 5 || run.exit_code == 3) << run.exit_code << run.errors;
  EXPECT_FALSE(fs::exists(path("hello.wav")));
}

}  // namespace
}  // namespace pajamas::test

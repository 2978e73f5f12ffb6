// Tests of tasks/speech: cuts, ids, noise, the two runs of a voice on engines that are written down here, and a
// phonemizer whose program is missing, wrong, dead or silent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"
#include "support/thrown_by.h"
#include "tasks/speech/normal_noise.h"
#include "tasks/speech/phoneme_ids.h"
#include "tasks/speech/phonemizer.h"
#include "tasks/speech/speech_text.h"
#include "tasks/speech/voice_session.h"
#include "text/unicode.h"
#include "unit/tasks/fake_engine.h"

namespace pajamas {
namespace {

using test::thrown_by;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// "Clause,|Other.#Next?" for two sentences.
std::string cut(const std::string& text) {
  std::string result;
  for (const SpeechSentence& sentence : split_speech(text)) {
    if (!result.empty()) result += '#';
    for (std::size_t i = 0; i < sentence.clauses.size(); ++i) {
      if (i > 0) result += '|';
      result += sentence.clauses[i].text;
      if (sentence.clauses[i].sign != 0) result += static_cast<char>(sentence.clauses[i].sign);
    }
  }
  return result;
}

TEST(SpeechText, SignsBeforeABlankEndClausesAndSentences) {
  EXPECT_EQ(cut("Hello."), "Hello.");
  EXPECT_EQ(cut("Hello"), "Hello");
  EXPECT_EQ(cut("One, two; three: four. Five? Six!"), "One,|two;|three:|four.#Five?#Six!");
  EXPECT_EQ(cut("He said \"go.\" Then he went."), "He said \"go.#Then he went.");
  EXPECT_EQ(cut("Really?! Yes... No\xE2\x80\xA6 Well"), "Really?#Yes.#No.#Well");
  EXPECT_EQ(cut("A line\nthat goes on\n\nA paragraph"), "A line that goes on#A paragraph");
  EXPECT_EQ(cut("\xE4\xBD\xA0\xE5\xA5\xBD\xE3\x80\x82\xE5\x86\x8D\xE8\xA7\x81\xE3\x80\x82"),
            "\xE4\xBD\xA0\xE5\xA5\xBD.#\xE5\x86\x8D\xE8\xA7\x81.");
}

TEST(SpeechText, NumbersAndAbbreviationsStayWhole) {
  EXPECT_EQ(cut("It costs 3.14 or 1,000 at 12:30. Fine."), "It costs 3.14 or 1,000 at 12:30.#Fine.");
  EXPECT_EQ(cut("Mr. Smith met Dr. Jones. They spoke."), "Mr Smith met Dr Jones.#They spoke.");
  EXPECT_EQ(cut("J. R. Smith came. And I. He left."), "J R Smith came.#And I.#He left.");
  EXPECT_EQ(cut("Fruit, e.g. apples, etc. are good. Apples etc. We ate."),
            "Fruit,|e.g. apples,|etc are good.#Apples etc.#We ate.");
  EXPECT_EQ(cut("Look at example.com now. Ask Mr."), "Look at example.com now.#Ask Mr.");
}

TEST(SpeechText, WhatCannotBeSpokenIsNoSentence) {
  for (const char* text : {"", " ", "...", "- ! ?", "\n\n\n", "\x01\x02"}) EXPECT_EQ(cut(text), "") << text;
  EXPECT_EQ(cut("Yes \xE2\x80\x94 ... no"), "Yes.#no");
  EXPECT_EQ(cut("Yes \xE2\x80\x94 or no; 5\xE2\x80\x93"
                "6 times"),
            "Yes;|or no;|5\xE2\x80\x93"
            "6 times");
  EXPECT_EQ(cut("say [[h@]] now"), "say [ [h@]] now");
  const Error error = thrown_by([] { split_speech("abc\xFFxyz"); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(error.what(), HasSubstr("byte 3"));
}

TEST(SpeechText, EndlessTextIsCut) {
  std::string words, letters(3000, 'a');
  for (int i = 0; i < 1000; ++i) words += "word ";
  for (const std::string& text : {words, letters}) {
    std::size_t total = 0;
    for (const SpeechSentence& sentence : split_speech(text)) {
      std::size_t length = 0;
      for (const SpeechClause& clause : sentence.clauses) {
        EXPECT_LE(clause.text.size(), 2 * kMaxClauseCharacters);
        length += clause.text.size();
      }
      if (text == words) {
        EXPECT_LE(length, 2 * kMaxSentenceCharacters);
      }
      total += length;
    }
    EXPECT_GE(total, text.size() * 4 / 5);
  }
}

/// What piper-tts says to the same text (tools/goldens/make_phoneme_goldens.py). Not equal by design: a sentence
/// without a sign at its end gets a full stop here, which voices are used to.
TEST(SpeechText, PhonemesArePipers) {
  if (!std::filesystem::exists("/usr/bin/espeak-ng")) GTEST_SKIP() << "espeak-ng is not installed: run ./dev setup";
  const auto goldens =
      nlohmann::json::parse(read_file(std::string(PAJAMAS_TEST_DATA) + "/audio/phonemes.json"))["cases"];
  std::map<std::string, std::unique_ptr<Phonemizer>> phonemizers;
  ASSERT_GT(goldens.size(), 20U);
  for (const auto& golden : goldens) {
    const std::string voice = golden["voice"];
    auto& phonemizer = phonemizers[voice];
    if (!phonemizer) phonemizer = std::make_unique<Phonemizer>(voice, "espeak-ng");
    std::vector<std::string> expected = golden["phonemes"], got;
    for (std::string& sentence : expected) {
      if (std::string_view(".?!").find(sentence.back()) == std::string_view::npos) sentence += '.';
    }
    for (const SpeechSentence& sentence : split_speech(golden["text"].get<std::string>())) {
      got.push_back(utf8_of(
          sentence_phonemes(sentence, [&](std::string_view clause) { return phonemizer->phonemes_of(clause); })));
    }
    for (auto* sentences : {&got, &expected}) {
      for (std::string& sentence : *sentences) {
        std::u32string folded;
        for (const char32_t c : code_points_of(sentence)) {
          if (std::u32string_view(U"\u02C8\u02CC\u02B2").find(c) != std::u32string_view::npos) continue;
          folded += c == U'\u027E' ? U'r' : c;
        }
        sentence = utf8_of(folded);
      }
    }
    EXPECT_EQ(got, expected) << voice << ": " << golden["text"];
  }
}

SpeechFacts small_voice() {
  SpeechFacts facts;
  facts.noise_shape_output = "mean";
  facts.num_phonemes = 10;
  facts.phoneme_ids = {{"_", {0}}, {"^", {1}}, {"$", {2}}, {"a", {3}},        {"b", {4, 5}},
                       {".", {6}}, {",", {7}}, {" ", {8}}, {"\xCC\x83", {9}}, {"ab", {9}}};
  return facts;
}

TEST(PhonemeIds, PadsStandBetween) {
  PhonemeIds ids(small_voice());
  EXPECT_THAT(ids.ids_of(U"a"), ElementsAre(1, 0, 3, 0, 2));
  EXPECT_THAT(ids.ids_of(U"ab."), ElementsAre(1, 0, 3, 0, 4, 5, 0, 6, 0, 2));
  EXPECT_THAT(ids.ids_of(U"aXb"), ElementsAre(1, 0, 3, 0, 4, 5, 0, 2)) << "an unknown phoneme is left out";
  EXPECT_THAT(ids.ids_of(U""), IsEmpty());
  EXPECT_THAT(ids.ids_of(U" ,."), IsEmpty());
  EXPECT_THAT(ids.ids_of(U"XYZ"), IsEmpty());
  SpeechFacts broken = small_voice();
  broken.phoneme_ids.erase("^");
  EXPECT_EQ(thrown_by([&] { PhonemeIds{broken}; }).kind(), ErrorKind::kBadInput);
}

TEST(PhonemeIds, SignsFollowTheirClauses) {
  const auto same = [](std::string_view clause) { return std::string(clause); };
  const auto phonemes = [&](const std::string& text) { return sentence_phonemes(split_speech(text).at(0), same); };
  EXPECT_EQ(phonemes("a, b."), U"a, b.");
  EXPECT_EQ(phonemes("a; b"), U"a; b.") << "no sign at the end counts as a full stop";
  EXPECT_EQ(phonemes("\xC3\xA3?"), U"a\u0303?") << "decomposed";
  const auto second = [](std::string_view clause) { return clause == "b" ? std::string("b") : std::string(); };
  EXPECT_EQ(sentence_phonemes(split_speech("a, b.").at(0), second), U"b.");
  EXPECT_EQ(sentence_phonemes(split_speech("a, c.").at(0), second), U"");
}

TEST(NormalNoise, IsNormalAndByPlace) {
  std::vector<float> noise(100001), same(7), other(7);
  fill_normal(noise, 5, 0, 0);
  fill_normal(same, 5, 0, 0);
  EXPECT_TRUE(std::equal(same.begin(), same.end(), noise.begin())) << "any length, the same beginning";
  for (const auto& place : {std::array<std::uint32_t, 3>{6, 0, 0}, {5, 1, 0}, {5, 0, 1}}) {
    fill_normal(other, place[0], place[1], place[2]);
    EXPECT_NE(other, same);
  }
  double sum = 0, squares = 0, fourth = 0;
  for (const float value : noise) {
    const double x = static_cast<double>(value);
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  const auto count = static_cast<double>(noise.size());
  EXPECT_NEAR(sum / count, 0, 0.02);
  EXPECT_NEAR(squares / count, 1, 0.02);
  EXPECT_NEAR(fourth / count, 3, 0.15) << "the fourth moment of a normal distribution";
}

/// Two frames a phoneme; a frame is its noise where the mask says so. Four samples a frame: the sum of five frames
/// around it, with zeros around what the decoder is given, or what `sample` says.
class FakeVoice {
 public:
  static constexpr std::int64_t kContext = 2, kSamples = 4;

  explicit FakeVoice(float sample = 0) {
    using test::known;
    using test::tensor_info;
    text_ = std::make_shared<test::FakeEngine>(
        std::vector<TensorInfo>{tensor_info("duration_noise", known({1, 2, -1})), tensor_info("scales", known({3})),
                                tensor_info("input", known({1, -1}), DType::kInt64),
                                tensor_info("input_lengths", known({1}), DType::kInt64)},
        std::vector<TensorInfo>{tensor_info("mask", known({1, 1, -1})), tensor_info("mean", known({1, 2, -1}))},
        [this](const std::vector<Tensor>& inputs) {
          text_inputs = inputs;
          const std::int64_t frames = 2 * inputs[3].as<std::int64_t>()[0];
          Tensor mean(DType::kFloat32, Shape{1, 2, frames}), mask(DType::kFloat32, Shape{1, 1, frames});
          for (float& value : mean.mutable_as<float>()) value = 2;
          for (float& value : mask.mutable_as<float>()) value = 1;
          return std::vector<Tensor>{mask, mean};
        });
    flow_ = std::make_shared<test::FakeEngine>(
        std::vector<TensorInfo>{tensor_info("mask", known({1, 1, -1})), tensor_info("noise", known({1, 2, -1}))},
        std::vector<TensorInfo>{tensor_info("frames", known({1, 2, -1}))}, [this](const std::vector<Tensor>& inputs) {
          flow_inputs = inputs;
          Tensor frames = inputs[1];
          const auto values = frames.mutable_as<float>();
          const auto mask = inputs[0].as<float>();
          for (std::size_t i = 0; i < values.size(); ++i) values[i] *= mask[i % mask.size()];
          return std::vector<Tensor>{frames};
        });
    decoder_ = std::make_shared<test::FakeEngine>(std::vector<TensorInfo>{tensor_info("frames", known({1, 2, -1}))},
                                                  std::vector<TensorInfo>{tensor_info("output", known({1, 1, 1, -1}))},
                                                  [this, sample](const std::vector<Tensor>& inputs) {
                                                    const std::int64_t window = inputs[0].shape()[2];
                                                    windows.push_back(window);
                                                    Tensor out(DType::kFloat32, Shape{1, 1, 1, kSamples * window});
                                                    const auto row =
                                                        inputs[0].as<float>().first(static_cast<std::size_t>(window));
                                                    const auto values = out.mutable_as<float>();
                                                    for (std::size_t i = 0; i < values.size(); ++i) {
                                                      values[i] = sample != 0 ? sample : sound(row, i);
                                                    }
                                                    return std::vector<Tensor>{out};
                                                  });
  }
  static float sound(std::span<const float> frames, std::size_t sample) {
    const auto frame = static_cast<std::ptrdiff_t>(sample / kSamples);
    float sum = 0;
    for (std::ptrdiff_t i = frame - kContext; i <= frame + kContext; ++i) {
      if (i >= 0 && i < static_cast<std::ptrdiff_t>(frames.size())) sum += frames[static_cast<std::size_t>(i)];
    }
    return sum * static_cast<float>(1 + sample % kSamples);
  }
  static SpeechFacts facts() {
    SpeechFacts facts = small_voice();
    facts.frames_value = "frames";
    facts.samples_per_frame = kSamples;
    facts.context_frames = kContext;
    return facts;
  }
  VoiceEngines engines() const { return {text_, nullptr, flow_, decoder_}; }
  VoiceSession session() const { return VoiceSession(facts(), engines()); }
  std::vector<Tensor> text_inputs, flow_inputs;
  std::vector<std::int64_t> windows;

 private:
  std::shared_ptr<const Engine> text_, flow_, decoder_;
};

TEST(VoiceSession, FillsUpAndSaysHowMuchThereIs) {
  FakeVoice voice;
  VoiceSession session = voice.session();
  VoiceSettings settings;
  settings.length_scale = 0.5F;
  settings.seed = 3;
  const std::vector<std::int64_t> ids{1, 0, 3, 0, 2};
  session.speak(ids, settings);
  EXPECT_EQ(voice.text_inputs[2].shape(), (Shape{1, kPhonemeStep}));
  EXPECT_THAT(voice.text_inputs[2].as<std::int64_t>().first(6), ElementsAre(1, 0, 3, 0, 2, 0));
  EXPECT_EQ(voice.text_inputs[3].as<std::int64_t>()[0], 5);
  EXPECT_THAT(voice.text_inputs[1].as<float>(), ElementsAre(0.667F, 0.5F, 0.8F));
  std::vector<float> noise(10);
  fill_normal(noise, 3, 0, 0);
  const auto durations = voice.text_inputs[0].as<float>();
  EXPECT_TRUE(std::equal(noise.begin() + 5, noise.end(), durations.begin() + kPhonemeStep)) << "the second row";
  EXPECT_EQ(durations[5], 0);
  EXPECT_EQ(voice.flow_inputs[1].shape(), (Shape{1, 2, kFrameStep}));
  noise.resize(20);
  fill_normal(noise, 3, 0, 1);
  EXPECT_TRUE(std::equal(noise.begin(), noise.begin() + 10, voice.flow_inputs[1].as<float>().begin()));
  EXPECT_EQ(voice.flow_inputs[0].as<float>()[9], 1);
  EXPECT_EQ(voice.flow_inputs[0].as<float>()[10], 0) << "the mask ends with the frames";
}

TEST(VoiceSession, WindowsGiveWhatTheWholeGives) {
  for (const std::size_t num_ids : {1U, 15U, 16U, 17U, 31U, 32U, 33U, 64U, 65U, 100U, 257U}) {
    FakeVoice voice;
    VoiceSession session = voice.session();
    const std::vector<float> samples = session.speak(std::vector<std::int64_t>(num_ids, 3), {});
    const std::size_t num_frames = 2 * num_ids;
    std::vector<float> noise(2 * num_frames), expected(num_frames * FakeVoice::kSamples);
    fill_normal(noise, 0, 0, 1);
    float peak = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expected[i] = FakeVoice::sound(std::span<const float>(noise).first(num_frames), i);
      peak = std::max(peak, std::abs(expected[i]));
    }
    for (float& value : expected) value /= peak;
    EXPECT_EQ(samples, expected) << num_frames << " frames";
    for (const std::int64_t window : voice.windows) {
      EXPECT_TRUE(num_frames < 32 || std::count(kDecoderWindows.begin(), kDecoderWindows.end(), window) == 1) << window;
    }
  }
}

/// The same voice with its frames made by a part of its own: text counts them, align gives the mask of all it is asked
/// for.
VoiceSession aligned_session(FakeVoice& voice, std::int64_t num_frames, std::vector<std::int64_t>& frame_index) {
  using test::known;
  using test::tensor_info;
  VoiceEngines engines = voice.engines();
  engines.text = std::make_shared<test::FakeEngine>(
      std::vector<TensorInfo>{tensor_info("scales", known({3})), tensor_info("input", known({1, -1}), DType::kInt64),
                              tensor_info("input_lengths", known({1}), DType::kInt64)},
      std::vector<TensorInfo>{tensor_info("durations", known({1, 1, -1})),
                              tensor_info("num_frames", known({}), DType::kInt64)},
      [num_frames](const std::vector<Tensor>& inputs) {
        return std::vector<Tensor>{Tensor(DType::kFloat32, Shape{1, 1, inputs[1].shape()[1]}),
                                   Tensor::scalar<std::int64_t>(num_frames)};
      });
  engines.align = std::make_shared<test::FakeEngine>(
      std::vector<TensorInfo>{tensor_info("frame_index", known({-1}), DType::kInt64),
                              tensor_info("durations", known({1, 1, -1}))},
      std::vector<TensorInfo>{tensor_info("mask", known({1, 1, -1})), tensor_info("mean", known({1, 2, -1}))},
      [num_frames, &frame_index](const std::vector<Tensor>& inputs) {
        const auto index = inputs[0].as<std::int64_t>();
        frame_index.assign(index.begin(), index.end());
        const auto count = static_cast<std::int64_t>(index.size());
        Tensor mask(DType::kFloat32, Shape{1, 1, count}), mean(DType::kFloat32, Shape{1, 2, count});
        const auto values = mask.mutable_as<float>();
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = index[i] < num_frames ? 1.0F : 0.0F;
        return std::vector<Tensor>{mask, mean};
      });
  return VoiceSession(voice.facts(), engines);
}

TEST(VoiceSession, APartOfItsOwnMakesTheFrames) {
  for (const std::int64_t num_frames : {1, 63, 64, 65, 200}) {
    const std::vector<std::int64_t> ids(static_cast<std::size_t>((num_frames + 1) / 2), 3);
    FakeVoice voice;
    std::vector<std::int64_t> frame_index;
    const std::vector<float> samples = aligned_session(voice, num_frames, frame_index).speak(ids, {});
    EXPECT_EQ(samples.size(), static_cast<std::size_t>(num_frames * FakeVoice::kSamples));
    EXPECT_EQ(frame_index.size() % kFrameStep, 0U);
    EXPECT_EQ(frame_index.back(), static_cast<std::int64_t>(frame_index.size()) - 1);
    if (num_frames % 2 == 0) {
      FakeVoice whole;
      EXPECT_EQ(samples, whole.session().speak(ids, {})) << "as where the text part makes the frames";
    }
  }
  for (const std::int64_t num_frames : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 40}) {
    FakeVoice voice;
    std::vector<std::int64_t> frame_index;
    VoiceSession session = aligned_session(voice, num_frames, frame_index);
    EXPECT_EQ(test::thrown_by([&] {
                session.speak(std::vector<std::int64_t>{1, 0, 2}, {});
              }).kind(),
              ErrorKind::kInternal);
  }
}

TEST(VoiceSession, SilenceStaysAndBrokenSamplesAreErrors) {
  const std::vector<std::int64_t> ids{1, 0, 2};
  FakeVoice quiet(1e-9F);
  EXPECT_THAT(quiet.session().speak(ids, {}), testing::AllOf(testing::SizeIs(24), testing::Each(0.0F)));
  FakeVoice broken(NAN);
  EXPECT_EQ(thrown_by([&] { broken.session().speak(ids, {}); }).kind(), ErrorKind::kInternal);
}

/// A program of a few lines in place of espeak-ng.
std::string script(const test::TemporaryFolder& folder, const std::string& lines) {
  const std::string path = (folder.path() / "espeak").string();
  std::ofstream(path) << "#!/bin/sh\n" << lines << "\n";
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

TEST(Phonemizer, JoinsLinesAndDropsMarks) {
  const test::TemporaryFolder folder;
  const std::string program = script(folder, R"(while read -r line; do
  case "$line" in
    two) echo "a b"; echo " (de)c(en) ";;
    none) echo "";;
    *) echo "<$line>";;
  esac
done)");
  Phonemizer phonemizer("en-us", program);
  EXPECT_EQ(phonemizer.phonemes_of("two"), "a b c");
  EXPECT_EQ(phonemizer.phonemes_of("none"), "");
  EXPECT_EQ(phonemizer.phonemes_of("x\ny"), "<x y>") << "one line whatever the clause holds";
  EXPECT_EQ(phonemizer.phonemes_of(std::string(900, 'z')).size(), 902U);
}

TEST(Phonemizer, FaultsAreNamed) {
  const test::TemporaryFolder folder;
  const Error missing = thrown_by([] { Phonemizer("en-us", "/nowhere/espeak-ng"); });
  EXPECT_EQ(missing.kind(), ErrorKind::kDeviceMissing);
  EXPECT_THAT(missing.what(), HasSubstr("apt install espeak-ng"));
  const std::string ends_at_once = script(folder, "exit 1");
  EXPECT_EQ(thrown_by([&] { Phonemizer("xx", ends_at_once); }).kind(), ErrorKind::kDeviceMissing);
  EXPECT_EQ(thrown_by([&] { Phonemizer("--help", ends_at_once); }).kind(), ErrorKind::kBadInput);
  // Answers the marks and half a clause, then ends.
  const std::string dies =
      script(folder, "for s in a a b b; do read -r x; echo $s; done; read -r x; echo x; echo oh dear >&2; exit 3");
  Phonemizer phonemizer("en-us", dies);
  const Error dead = thrown_by([&] { phonemizer.phonemes_of("one"); });
  EXPECT_EQ(dead.kind(), ErrorKind::kInternal);
  EXPECT_THAT(dead.what(), HasSubstr("oh dear"));
  EXPECT_EQ(thrown_by([&] { phonemizer.phonemes_of("two"); }).kind(), ErrorKind::kInternal) << "and stays so";
}

TEST(Phonemizer, AProcessForEachClauseEndsWithIt) {
  const test::TemporaryFolder folder;
  const std::string program = script(folder, R"(while read -r x; do echo " <$x> "; echo "(en)b"; done; printf last)");
  Phonemizer phonemizer("en-us", program, PhonemizerProcess::kOneEach);
  EXPECT_EQ(phonemizer.phonemes_of("one two"), "<one two> b last");
  EXPECT_EQ(phonemizer.phonemes_of("x\ny"), "<x y> b last") << "one line whatever the clause holds";
  const std::string silent = script(folder, "read -r x");
  EXPECT_EQ(thrown_by([&] { Phonemizer("xx", silent, PhonemizerProcess::kOneEach); }).kind(),
            ErrorKind::kDeviceMissing);
  const std::string dies = script(folder, "read -r x; [ \"$x\" != one ] || { echo oh dear >&2; exit 3; }; echo a");
  Phonemizer mortal("en-us", dies, PhonemizerProcess::kOneEach);
  EXPECT_EQ(mortal.phonemes_of("two"), "a");
  const Error dead = thrown_by([&] { mortal.phonemes_of("one"); });
  EXPECT_EQ(dead.kind(), ErrorKind::kInternal);
  EXPECT_THAT(dead.what(), HasSubstr("oh dear"));
  EXPECT_EQ(thrown_by([] { Phonemizer("en-us", "/nowhere/espeak-ng", PhonemizerProcess::kOneEach); }).kind(),
            ErrorKind::kDeviceMissing);
}

class PhonemizerTest : public testing::TestWithParam<PhonemizerProcess> {};
INSTANTIATE_TEST_SUITE_P(Processes, PhonemizerTest,
                         testing::Values(PhonemizerProcess::kKept, PhonemizerProcess::kOneEach),
                         [](const auto& info) { return info.param == PhonemizerProcess::kKept ? "kept" : "one_each"; });

TEST_P(PhonemizerTest, RealProgramSpeaksEnglish) {
  if (!std::filesystem::exists("/usr/bin/espeak-ng")) GTEST_SKIP() << "espeak-ng is not installed: run ./dev setup";
  Phonemizer phonemizer("en-us", "espeak-ng", GetParam());
  EXPECT_EQ(phonemizer.phonemes_of("hello world"), "h\xC9\x99l\xCB\x88o\xCA\x8A w\xCB\x88\xC9\x9C\xCB\x90ld");
  EXPECT_EQ(phonemizer.phonemes_of("..."), "");
  EXPECT_EQ(phonemizer.phonemes_of("hello"), "h\xC9\x99l\xCB\x88o\xCA\x8A") << "nothing is left over";
  // The numbers that mark the end are clauses like any other.
  const std::string first = phonemizer.phonemes_of("7361529"), second = phonemizer.phonemes_of("9152637");
  EXPECT_GT(first.size(), 30U);
  EXPECT_GT(second.size(), 30U);
  EXPECT_EQ(phonemizer.phonemes_of("7361529"), first);
  EXPECT_EQ(thrown_by([] { Phonemizer("qqq", "espeak-ng", GetParam()); }).kind(), ErrorKind::kDeviceMissing);
}

}  // namespace
}  // namespace pajamas

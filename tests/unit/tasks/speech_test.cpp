// Tests of tasks/speech: cuts, ids, noise, the two runs of a voice on engines that are written down here, and a
// phonemizer whose program is missing, wrong, dead or silent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "pajamas/error.h"
#include "support/temporary_folder.h"
#include "tasks/speech/normal_noise.h"
#include "tasks/speech/phoneme_ids.h"
#include "tasks/speech/phonemizer.h"
#include "tasks/speech/speech_text.h"
#include "tasks/speech/voice_session.h"
#include "unit/tasks/fake_engine.h"

namespace pajamas {
namespace {

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

template <typename Function>
Error error_of(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorKind::kInternal, "none");
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
  EXPECT_EQ(cut("Yes \xE2\x80\x94 ... no"), "Yes \xE2\x80\x94.#no");
  EXPECT_EQ(cut("say [[h@]] now"), "say [ [h@]] now");
  const Error error = error_of([] { split_speech("abc\xFFxyz"); });
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
  EXPECT_EQ(error_of([&] { PhonemeIds{broken}; }).kind(), ErrorKind::kBadInput);
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

/// Two frames a phoneme; samples are 0.25 times the mean, or what `sample` says.
class FakeVoice {
 public:
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
          const std::int64_t frames = 2 * inputs[2].shape()[1];
          Tensor mean(DType::kFloat32, Shape{1, 2, frames});
          for (float& value : mean.mutable_as<float>()) value = 2;
          Tensor mask(DType::kFloat32, Shape{1, 1, frames});
          return std::vector<Tensor>{mask, mean};
        });
    audio_ = std::make_shared<test::FakeEngine>(
        std::vector<TensorInfo>{tensor_info("mean", known({1, 2, -1})), tensor_info("noise", known({1, 2, -1}))},
        std::vector<TensorInfo>{tensor_info("output", known({1, 1, 1, -1}))},
        [this, sample](const std::vector<Tensor>& inputs) {
          audio_inputs = inputs;
          Tensor out(DType::kFloat32, Shape{1, 1, 1, 4});
          const auto values = out.mutable_as<float>();
          const float mean = inputs[0].as<float>()[0];
          for (std::size_t i = 0; i < 4; ++i)
            values[i] = sample != 0 ? sample : mean * 0.25F * static_cast<float>(i % 2);
          return std::vector<Tensor>{out};
        });
  }
  VoiceSession session() { return VoiceSession(small_voice(), text_, audio_); }
  std::vector<Tensor> text_inputs, audio_inputs;

 private:
  std::shared_ptr<const Engine> text_, audio_;
};

TEST(VoiceSession, FeedsBothPartsByName) {
  FakeVoice voice;
  VoiceSession session = voice.session();
  VoiceSettings settings;
  settings.length_scale = 0.5F;
  settings.seed = 3;
  const std::vector<std::int64_t> ids{1, 0, 3, 0, 2};
  EXPECT_THAT(session.speak(ids, settings), ElementsAre(0, 1, 0, 1)) << "the loudest sample is 1";
  EXPECT_THAT(voice.text_inputs[2].as<std::int64_t>(), ElementsAre(1, 0, 3, 0, 2));
  EXPECT_EQ(voice.text_inputs[3].as<std::int64_t>()[0], 5);
  EXPECT_THAT(voice.text_inputs[1].as<float>(), ElementsAre(0.667F, 0.5F, 0.8F));
  EXPECT_EQ(voice.text_inputs[0].shape(), (Shape{1, 2, 5}));
  EXPECT_EQ(voice.audio_inputs[1].shape(), (Shape{1, 2, 10})) << "as many frames as the first part made";
  std::vector<float> noise(20);
  fill_normal(noise, 3, 0, 1);
  EXPECT_TRUE(std::equal(noise.begin(), noise.end(), voice.audio_inputs[1].as<float>().begin()));
}

TEST(VoiceSession, SilenceStaysAndBrokenSamplesAreErrors) {
  const std::vector<std::int64_t> ids{1, 0, 2};
  FakeVoice quiet(1e-9F);
  EXPECT_THAT(quiet.session().speak(ids, {}), ElementsAre(0, 0, 0, 0));
  FakeVoice broken(NAN);
  EXPECT_EQ(error_of([&] { broken.session().speak(ids, {}); }).kind(), ErrorKind::kInternal);
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
  const Error missing = error_of([] { Phonemizer("en-us", "/nowhere/espeak-ng"); });
  EXPECT_EQ(missing.kind(), ErrorKind::kDeviceMissing);
  EXPECT_THAT(missing.what(), HasSubstr("apt install espeak-ng"));
  const std::string ends_at_once = script(folder, "exit 1");
  EXPECT_EQ(error_of([&] { Phonemizer("xx", ends_at_once); }).kind(), ErrorKind::kDeviceMissing);
  EXPECT_EQ(error_of([&] { Phonemizer("--help", ends_at_once); }).kind(), ErrorKind::kBadInput);
  // Answers the marks and half a clause, then ends.
  const std::string dies =
      script(folder, "for s in a a b b; do read -r x; echo $s; done; read -r x; echo x; echo oh dear >&2; exit 3");
  Phonemizer phonemizer("en-us", dies);
  const Error dead = error_of([&] { phonemizer.phonemes_of("one"); });
  EXPECT_EQ(dead.kind(), ErrorKind::kInternal);
  EXPECT_THAT(dead.what(), HasSubstr("oh dear"));
  EXPECT_EQ(error_of([&] { phonemizer.phonemes_of("two"); }).kind(), ErrorKind::kInternal) << "and stays so";
}

TEST(Phonemizer, RealProgramSpeaksEnglish) {
  if (!std::filesystem::exists("/usr/bin/espeak-ng")) GTEST_SKIP() << "espeak-ng is not installed: run ./dev setup";
  Phonemizer phonemizer("en-us", "espeak-ng");
  EXPECT_EQ(phonemizer.phonemes_of("hello world"), "h\xC9\x99l\xCB\x88o\xCA\x8A w\xCB\x88\xC9\x9C\xCB\x90ld");
  EXPECT_EQ(phonemizer.phonemes_of("..."), "");
  EXPECT_EQ(phonemizer.phonemes_of("hello"), "h\xC9\x99l\xCB\x88o\xCA\x8A") << "nothing is left over";
  // The numbers that mark the end are clauses like any other.
  const std::string first = phonemizer.phonemes_of("7361529"), second = phonemizer.phonemes_of("9152637");
  EXPECT_GT(first.size(), 30U);
  EXPECT_GT(second.size(), 30U);
  EXPECT_EQ(phonemizer.phonemes_of("7361529"), first);
  EXPECT_EQ(error_of([] { Phonemizer("qqq", "espeak-ng"); }).kind(), ErrorKind::kDeviceMissing);
}

}  // namespace
}  // namespace pajamas

// The voice detector: its framing over a fake engine, and with Silero's network on the target openvino against the
// Python package (tools/goldens/make_voice_goldens.py).
#include "tasks/transcription/voice_detector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "io/onnx_reader.h"
#include "media/audio_reader.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"
#include "support/voice_goldens.h"
#include "targets/registry.h"
#include "unit/tasks/fake_engine.h"

namespace pajamas {
namespace {

using ::testing::HasSubstr;

std::vector<SpeechSegment> drain(VoiceDetector& detector) {
  std::vector<SpeechSegment> segments;
  while (const auto segment = detector.next()) segments.push_back(*segment);
  return segments;
}

std::vector<TensorInfo> voice_inputs() {
  return {test::tensor_info("h", test::known({1, 1, 128})), test::tensor_info("input", test::known({-1, 576})),
          test::tensor_info("c", test::known({1, 1, 128}))};
}
std::vector<TensorInfo> voice_outputs() {
  return {test::tensor_info("hn", test::known({1, 1, 128})), test::tensor_info("cn", test::known({1, 1, 128})),
          test::tensor_info("speech_probs", test::known({-1}))};
}

/// Speech where a frame's first sample is positive; keeps all frames, and counts them in the state.
std::shared_ptr<test::FakeEngine> fake_engine(std::vector<std::vector<float>>& frames) {
  return std::make_shared<test::FakeEngine>(
      voice_inputs(), voice_outputs(), [&frames](const std::vector<Tensor>& inputs) -> std::vector<Tensor> {
        const std::int64_t num_frames = inputs[1].shape()[0];
        const auto values = inputs[1].as<float>();
        Tensor probabilities(DType::kFloat32, Shape{num_frames});
        for (std::int64_t i = 0; i < num_frames; ++i) {
          frames.emplace_back(values.begin() + i * 576, values.begin() + (i + 1) * 576);
          probabilities.mutable_as<float>()[static_cast<std::size_t>(i)] = frames.back()[64] > 0 ? 0.9F : 0.1F;
        }
        std::vector<float> state(128, static_cast<float>(frames.size()));
        // What comes in is what went out last.
        EXPECT_EQ(inputs[0].as<float>()[0], static_cast<float>(frames.size()) - static_cast<float>(num_frames));
        EXPECT_EQ(inputs[2].as<float>()[5], static_cast<float>(frames.size()) - static_cast<float>(num_frames));
        const Tensor next = Tensor::of<float>(Shape{1, 1, 128}, state);
        return {next, next, probabilities};
      });
}

TEST(VoiceDetector, CutsFramesWithTheirContextForAnyPieces) {
  std::vector<float> samples(512 * 70 + 17);
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = static_cast<float>(i % 10007 + 1);
  for (const std::size_t piece : {1U, 511U, 512U, 5000U, 100000U}) {
    std::vector<std::vector<float>> frames;
    std::vector<float> probabilities;
    VoiceDetector detector(fake_engine(frames));
    detector.on_frame = [&](float probability) { probabilities.push_back(probability); };
    for (std::size_t at = 0; at < samples.size(); at += piece) {
      detector.push(std::span(samples).subspan(at, std::min(piece, samples.size() - at)));
      EXPECT_EQ(frames.size(), std::min(at + piece, samples.size()) / 512) << "frames are computed when complete";
    }
    EXPECT_EQ(detector.position(), static_cast<std::int64_t>(samples.size()));
    EXPECT_EQ(detector.open_begin(), 0);
    detector.finish();
    ASSERT_EQ(frames.size(), 71U);
    EXPECT_EQ(probabilities.size(), 71U);
    for (std::size_t i = 0; i < frames.size(); ++i) {
      for (std::size_t j = 0; j < 576; ++j) {
        const auto at = static_cast<std::ptrdiff_t>(i * 512 + j) - 64;
        const bool is_there = at >= 0 && at < static_cast<std::ptrdiff_t>(samples.size());
        ASSERT_EQ(frames[i][j], is_there ? samples[static_cast<std::size_t>(at)] : 0.0F) << i << ", " << j;
      }
    }
    EXPECT_THAT(drain(detector), ::testing::ElementsAre(SpeechSegment{0, static_cast<std::int64_t>(samples.size())}));
  }
}

TEST(VoiceDetector, OfNothingFindsNothing) {
  std::vector<std::vector<float>> frames;
  VoiceDetector detector(fake_engine(frames));
  detector.push({});
  detector.finish();
  EXPECT_TRUE(frames.empty());
  EXPECT_FALSE(detector.next().has_value());
}

TEST(VoiceDetector, RefusesAnotherModel) {
  const auto message = [](std::vector<TensorInfo> inputs, std::vector<TensorInfo> outputs) -> std::string {
    try {
      VoiceDetector detector(std::make_shared<test::FakeEngine>(
          std::move(inputs), std::move(outputs), [](const std::vector<Tensor>&) { return std::vector<Tensor>{}; }));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      return error.what();
    }
    return {};
  };
  for (std::size_t i = 0; i < 3; ++i) {
    auto inputs = voice_inputs();
    inputs[i].name = "other";
    EXPECT_THAT(message(inputs, voice_outputs()), HasSubstr("silero_vad_16k_sequence.onnx"));
    auto outputs = voice_outputs();
    outputs[i].name = "other";
    EXPECT_THAT(message(voice_inputs(), outputs), HasSubstr("no output '" + voice_outputs()[i].name + "'"));
    outputs = voice_outputs();
    outputs[i].dtype = DType::kInt64;
    EXPECT_THAT(message(voice_inputs(), outputs), HasSubstr("not float32"));
  }
}

const std::filesystem::path kSpeech = "/usr/share/pocketsphinx/test/data/librivox";

std::vector<std::int64_t> read_clip(int number) {
  AudioReader reader(kSpeech / ("sense_and_sensibility_01_austen_64kb-0" + std::to_string(number) + ".wav"));
  std::vector<std::int64_t> samples;
  std::vector<float> block(16000);
  while (const std::size_t got = reader.read(block)) {
    for (std::size_t i = 0; i < got; ++i) samples.push_back(std::lrint(block[i] * 32768.0F));
  }
  return samples;
}

std::vector<std::int64_t> noise(std::size_t count, std::uint32_t seed, std::int64_t divisor) {
  test::VoiceNumbers numbers(seed);
  std::vector<std::int64_t> samples(count);
  for (std::int64_t& sample : samples) {
    const std::int64_t value = static_cast<std::int64_t>(numbers.next()) - 32768;
    // Python rounds quotients down.
    sample = value >= 0 ? value / divisor : -((-value + divisor - 1) / divisor);
  }
  return samples;
}

/// The signals of the generator.
std::vector<float> signal(const std::string& name) {
  std::vector<std::int64_t> all;
  const auto append = [&](const std::vector<std::int64_t>& samples) {
    all.insert(all.end(), samples.begin(), samples.end());
  };
  const auto silence = [&](std::size_t count) { all.resize(all.size() + count); };
  if (name == "clips_and_silence") {
    silence(16000);
    append(read_clip(870));
    silence(24000);
    append(read_clip(880));
    silence(4801);
    append(read_clip(930));
  } else if (name == "clips_in_noise") {
    append(noise(48000, 1, 64));
    auto clip = read_clip(890);
    const auto over = noise(clip.size(), 2, 64);
    for (std::size_t i = 0; i < clip.size(); ++i) clip[i] += over[i];
    append(clip);
    append(noise(32000, 3, 64));
    append(read_clip(880));
    append(noise(20000, 4, 8));
  } else if (name == "without_pause") {
    for (const int number : {870, 880, 890, 920, 930, 870, 880, 890, 920, 930}) {
      const auto clip = read_clip(number);
      all.insert(all.end(), clip.begin() + 3200, clip.end() - 3200);
    }
  } else {
    append(noise(160000, 5, 16));
  }
  std::vector<float> samples;
  for (const std::int64_t sample : all) {
    samples.push_back(static_cast<float>(std::clamp<std::int64_t>(sample, -32768, 32767)) / 32768.0F);
  }
  return samples;
}

TEST(VoiceDetector, FindsTheSegmentsOfThePythonPackage) {
  const std::filesystem::path model_file = std::filesystem::path(PAJAMAS_DEPS_DIR) / "models/silero_vad.onnx";
  if (!std::filesystem::exists(model_file)) GTEST_SKIP() << model_file << " is missing; tools/fetch_models makes it";
  if (!std::filesystem::exists(kSpeech)) GTEST_SKIP() << "the package pocketsphinx-testdata is not installed";
  const auto& all = targets();
  if (std::none_of(all.begin(), all.end(), [](const Target* target) { return target->name() == "openvino"; })) {
    GTEST_SKIP() << "this build has no target openvino";
  }
  const Target& target = find_target("openvino");
  const test::TemporaryFolder folder;
  BuildPlan plan;
  plan.target = "openvino";
  plan.precision = Precision::kFp32;
  const Model model = read_onnx(model_file);
  ASSERT_TRUE(target.supports(model, plan)) << target.supports(model, plan).reason;
  const CompiledPart part = target.compile({model, plan, kVoicePart, folder.path(), {}});
  const auto open = [&](const CompiledFile& file) { return MappedFile::open(folder / file.name); };
  SessionOptions session_options;
  session_options.num_threads = 1;
  const auto engine = target.load({folder.path(), kVoicePart, part.files, open, part.facts, plan, session_options});

  const nlohmann::json goldens = test::voice_goldens();
  std::string name;
  std::vector<float> samples;
  std::vector<float> probabilities;
  for (const auto& one : goldens.at("clips")) {
    if (one.at("signal") != name) {
      name = one.at("signal");
      samples = signal(name);
      ASSERT_EQ(static_cast<std::int64_t>(samples.size()), one.at("num_samples"));
      probabilities.clear();
      VoiceDetector detector(engine);
      detector.on_frame = [&](float probability) { probabilities.push_back(probability); };
      for (std::size_t at = 0; at < samples.size(); at += 7000) {
        detector.push(std::span(samples).subspan(at, std::min<std::size_t>(7000, samples.size() - at)));
      }
      detector.finish();
      // Options 0 are the defaults.
      EXPECT_EQ(drain(detector), test::voice_segments(one.at("segments"))) << name;
      const std::vector<double> expected = one.at("every_16th_probability");
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(probabilities.at(i * 16), expected[i], 2e-4) << name << ", frame " << i * 16;
      }
    }
    SpeechSegmenter segmenter(test::voice_options(goldens, one.at("options")));
    for (const float probability : probabilities) segmenter.push(static_cast<double>(probability));
    segmenter.finish(static_cast<std::int64_t>(samples.size()));
    std::vector<SpeechSegment> segments;
    while (const auto segment = segmenter.next()) segments.push_back(*segment);
    EXPECT_EQ(segments, test::voice_segments(one.at("segments"))) << name << ", options " << one.at("options");
  }
}

}  // namespace
}  // namespace pajamas

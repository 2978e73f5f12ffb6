// The number of frames is known between the two runs, and with it the size of the noise. See voice_session.h.
#include "tasks/speech/voice_session.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "pajamas/error.h"
#include "tasks/image_session.h"
#include "tasks/speech/normal_noise.h"

namespace pajamas {
namespace {

constexpr std::uint32_t kDurationStream = 0, kSoundStream = 1;
/// A hundredth of a second of sound has one frame or so; ten hours are no sentence.
constexpr std::int64_t kMaxNoise = std::int64_t{1} << 31;
/// Loudest sample below which a sentence counts as silent: Piper's.
constexpr float kSilence = 1e-8F;

template <typename T>
TensorView view_of(Shape shape, const T* data) {
  return {DTypeOf<T>::value, std::move(shape), reinterpret_cast<const std::byte*>(data)};
}

bool has_tensor(const std::vector<TensorInfo>& tensors, const std::string& name) {
  return std::any_of(tensors.begin(), tensors.end(), [&](const TensorInfo& info) { return info.name == name; });
}

}  // namespace

VoiceSession::VoiceSession(const SpeechFacts& facts, std::shared_ptr<const Engine> text,
                           std::shared_ptr<const Engine> audio)
    : facts_(facts), text_(std::move(text)), audio_(std::move(audio)) {
  noise_shape_output_ = find_tensor(text_->outputs(), facts_.noise_shape_output, "output");
  samples_output_ = find_tensor(audio_->outputs(), "output", "output");
  for (const TensorInfo& input : audio_->inputs()) {
    sources_.push_back(
        input.name == "noise" ? -1 : static_cast<std::ptrdiff_t>(find_tensor(text_->outputs(), input.name, "output")));
  }
  text_session_ = text_->new_session();
  audio_session_ = audio_->new_session();
}

std::vector<float> VoiceSession::speak(std::span<const std::int64_t> ids, const VoiceSettings& settings) {
  const auto length = static_cast<std::int64_t>(ids.size());
  const std::array<float, 3> scales{settings.noise_scale, settings.length_scale, settings.noise_width};
  std::vector<float> duration_noise;
  const auto give = [&](const char* name, const TensorView& view) {
    text_session_->set_input(find_tensor(text_->inputs(), name, "input"), view);
  };
  give("input", view_of(Shape{1, length}, ids.data()));
  give("input_lengths", view_of(Shape{1}, &length));
  give("scales", view_of(Shape{3}, scales.data()));
  if (has_tensor(text_->inputs(), "sid")) give("sid", view_of(Shape{1}, &settings.speaker));
  if (has_tensor(text_->inputs(), "duration_noise")) {
    duration_noise.resize(static_cast<std::size_t>(2 * length));
    fill_normal(duration_noise, settings.seed, settings.sentence, kDurationStream);
    give("duration_noise", view_of(Shape{1, 2, length}, duration_noise.data()));
  }
  text_session_->run();

  const Shape shape = text_session_->output(noise_shape_output_).shape;
  const std::int64_t num_noise = shape.num_elements();
  if (num_noise <= 0 || num_noise > kMaxNoise) {
    throw Error(ErrorKind::kInternal, "the voice made frames of the shape " + shape.to_string(), {},
                "run `pajamas verify` on the bundle, or build it again");
  }
  std::vector<float> noise(static_cast<std::size_t>(num_noise));
  fill_normal(noise, settings.seed, settings.sentence, kSoundStream);
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    audio_session_->set_input(i, sources_[i] < 0 ? view_of(shape, noise.data())
                                                 : text_session_->output(static_cast<std::size_t>(sources_[i])));
  }
  audio_session_->run();

  const TensorView output = audio_session_->output(samples_output_);
  if (output.dtype != DType::kFloat32) {
    throw Error(ErrorKind::kInternal, std::string("the voice made samples of type ") + to_string(output.dtype));
  }
  const auto made = output.as<float>();
  std::vector<float> samples(made.begin(), made.end());
  float peak = 0;
  for (const float sample : samples) {
    if (!std::isfinite(sample)) {
      throw Error(ErrorKind::kInternal, "the voice made a sample that is not finite", {},
                  "run `pajamas verify` on the bundle, or build it again");
    }
    peak = std::max(peak, std::abs(sample));
  }
  for (float& sample : samples) sample = peak < kSilence ? 0.0F : std::clamp(sample / peak, -1.0F, 1.0F);
  return samples;
}

}  // namespace pajamas

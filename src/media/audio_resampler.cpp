// libsoxr behind the interface. Measured on 30 s at 44.1 and 48 kHz to 16 kHz, one core: soxr 4,200 and 6,700 times
// real time with an error of -133 dB; libsamplerate's medium filter 150 times with -122 dB; speexdsp of like quality
// 100 to 300 times, with an output that lacks its last samples. See audio_resampler.h.
#include "media/audio_resampler.h"

#ifndef PAJAMAS_NO_AUDIO_LIBRARIES
#include <soxr.h>
#endif

#include <algorithm>
#include <string>

#include "pajamas/error.h"

namespace pajamas {

std::int64_t AudioResampler::num_output_samples(std::int64_t num_samples, int from_hz, int to_hz) {
  // Whole seconds apart, so that no product overflows.
  const std::int64_t seconds = num_samples / from_hz;
  const std::int64_t rest = num_samples % from_hz;
  return seconds * to_hz + (2 * rest * to_hz + from_hz) / (2 * static_cast<std::int64_t>(from_hz));
}

namespace {

void require_rate(int rate_hz) {
  if (rate_hz >= kMinSampleRateHz && rate_hz <= kMaxSampleRateHz) return;
  throw Error(ErrorKind::kBadInput,
              "a sample rate of " + std::to_string(rate_hz) + " Hz is not one of sound: " +
                  std::to_string(kMinSampleRateHz) + " to " + std::to_string(kMaxSampleRateHz) + " Hz are taken",
              {}, "if the rate in the file is wrong, give the samples as raw audio with the right one (--raw-audio)");
}

}  // namespace

#ifdef PAJAMAS_NO_AUDIO_LIBRARIES

struct AudioResampler::State {};

AudioResampler::AudioResampler(int from_hz, int to_hz) {
  require_rate(from_hz);
  require_rate(to_hz);
  if (from_hz == to_hz) return;
  throw Error(ErrorKind::kUnsupported,
              "this build of the program does not change sample rates (" + std::to_string(from_hz) + " to " +
                  std::to_string(to_hz) + " Hz)",
              {}, "use the program of './dev build', or convert the audio first");
}

void AudioResampler::push(std::span<const float> samples, std::vector<float>& output) {
  output.insert(output.end(), samples.begin(), samples.end());
}
void AudioResampler::finish(std::vector<float>&) {}

#else

struct AudioResampler::State {
  soxr_t resampler = nullptr;
  int from_hz = 0;
  int to_hz = 0;
  std::int64_t num_pushed = 0;
  std::int64_t num_given = 0;

  State() = default;
  ~State() { soxr_delete(resampler); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  static void require(soxr_error_t error) {
    if (error != nullptr) throw Error(ErrorKind::kInternal, std::string("libsoxr: ") + error);
  }
};

AudioResampler::AudioResampler(int from_hz, int to_hz) : state_(std::make_unique<State>()) {
  require_rate(from_hz);
  require_rate(to_hz);
  state_->from_hz = from_hz;
  state_->to_hz = to_hz;
  if (from_hz == to_hz) return;
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  const soxr_runtime_spec_t one_thread = soxr_runtime_spec(1);
  soxr_error_t error = nullptr;
  state_->resampler = soxr_create(from_hz, to_hz, 1, &error, nullptr, &quality, &one_thread);
  State::require(error);
}

void AudioResampler::push(std::span<const float> samples, std::vector<float>& output) {
  State& state = *state_;
  if (state.resampler == nullptr) {
    output.insert(output.end(), samples.begin(), samples.end());
    return;
  }
  state.num_pushed += static_cast<std::int64_t>(samples.size());
  while (!samples.empty()) {
    const std::size_t begin = output.size();
    // Room for what follows from these samples, and for what was held back.
    const std::size_t room = samples.size() * static_cast<std::size_t>(state.to_hz) / state.from_hz + 4096;
    output.resize(begin + room);
    std::size_t num_used = 0;
    std::size_t num_made = 0;
    State::require(soxr_process(state.resampler, samples.data(), samples.size(), &num_used, output.data() + begin, room,
                                &num_made));
    output.resize(begin + num_made);
    state.num_given += static_cast<std::int64_t>(num_made);
    samples = samples.subspan(num_used);
  }
}

void AudioResampler::finish(std::vector<float>& output) {
  State& state = *state_;
  if (state.resampler == nullptr) return;
  const std::int64_t wanted = num_output_samples(state.num_pushed, state.from_hz, state.to_hz);
  for (std::size_t num_made = 1; num_made > 0;) {
    constexpr std::size_t kRoom = 4096;
    const std::size_t begin = output.size();
    output.resize(begin + kRoom);
    State::require(soxr_process(state.resampler, nullptr, 0, nullptr, output.data() + begin, kRoom, &num_made));
    output.resize(begin + num_made);
    state.num_given += static_cast<std::int64_t>(num_made);
  }
  if (state.num_given != wanted) {
    // soxr rounds in floating point; a difference of one sample at an exact half is settled here.
    const std::int64_t difference = wanted - state.num_given;
    const auto end = static_cast<std::int64_t>(output.size()) + difference;
    output.resize(static_cast<std::size_t>(std::max<std::int64_t>(0, end)), 0.0F);
    state.num_given = wanted;
  }
}

#endif

AudioResampler::~AudioResampler() = default;
AudioResampler::AudioResampler(AudioResampler&&) noexcept = default;
AudioResampler& AudioResampler::operator=(AudioResampler&&) noexcept = default;

}  // namespace pajamas

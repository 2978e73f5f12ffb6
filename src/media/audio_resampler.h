// Changing the sample rate of a signal as it passes by. Mixing channels and decoding are audio_reader.h's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace pajamas {

/// The lowest and highest sample rates that are taken for what they say.
inline constexpr int kMinSampleRateHz = 1'000;
inline constexpr int kMaxSampleRateHz = 768'000;

/// A band-limited resampler for one channel (libsoxr, high quality): flat to 0.01 dB up to 0.91 of the lower rate's
/// half, what lies above that half is 120 dB down. Delay is compensated: output sample j is the signal at time j /
/// to_hz. The same samples in other pieces give the same output to the last bit. Use from one thread at a time.
class AudioResampler {
 public:
  /// Throws Error{kBadInput} naming the rate that lies outside [kMinSampleRateHz, kMaxSampleRateHz].
  AudioResampler(int from_hz, int to_hz);
  ~AudioResampler();
  AudioResampler(AudioResampler&&) noexcept;
  AudioResampler& operator=(AudioResampler&&) noexcept;

  /// Takes the next samples and appends to `output` what follows from those so far.
  void push(std::span<const float> samples, std::vector<float>& output);
  /// The signal has ended: appends the rest. In all, n samples become num_output_samples(n). Nothing may be pushed
  /// afterwards.
  void finish(std::vector<float>& output);

  /// n · to_hz / from_hz, rounded to the nearest, halves up.
  static std::int64_t num_output_samples(std::int64_t num_samples, int from_hz, int to_hz);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pajamas

// Log-mel features of speech, as OpenAI's Whisper was trained on: what stands between samples and the encoder. Not part
// of any graph, and no other kind of spectrogram: transforms, bands and scaling are fixed but for the number of bands.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pajamas {

/// Samples a second that the features are defined on.
inline constexpr int kMelSampleRateHz = 16000;
/// Samples between two frames: 10 ms.
inline constexpr std::int64_t kMelHopSamples = 160;

/// Weights of triangular mel bands over the 201 frequencies of a 400-point transform at 16 kHz, float32 [num_mels, 201]
/// row-major: Slaney's scale (linear below 1 kHz, logarithmic above), each triangle of unit area in hertz.
std::vector<float> mel_filters(int num_mels);

/// Log-mel features. Immutable once made: any number of threads may use one object.
class LogMel {
 public:
  /// `num_mels`: 80 for Whisper up to large-v2, 128 from large-v3 on. Throws Error{kUnsupported} outside 1 to 200,
  /// where a frame's 201 frequencies would not fill the bands.
  explicit LogMel(int num_mels);

  int num_mels() const noexcept { return num_mels_; }
  /// Frames that cover `num_samples` samples.
  static constexpr std::int64_t num_frames_of(std::int64_t num_samples) noexcept {
    return (num_samples + kMelHopSamples - 1) / kMelHopSamples;
  }

  /// Features of one chunk: float32 [num_mels, num_frames], row-major, into `features`. Frame t is the 400 samples
  /// around sample 160 t. `samples` are mono at 16 kHz and finite; fewer than 160 num_frames stand for as many with
  /// silence behind them, and the ends are reflected. Values lie in a range of 2 below the largest of the chunk, hence
  /// a chunk's features are not those of a piece of it. Time: about 3 us a frame.
  ///
  /// Throws Error{kInternal} for num_frames < 2, more samples than frames, or `features` of another size.
  void compute(std::span<const float> samples, std::int64_t num_frames, std::span<float> features) const;

 private:
  /// The part of a filter that is not zero.
  struct Band {
    int first_bin = 0;
    std::vector<float> weights;
  };
  int num_mels_;
  std::vector<double> window_;
  std::vector<Band> bands_;
};

}  // namespace pajamas

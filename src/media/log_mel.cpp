// The short-time transform in double precision, so that what differs from another implementation is that one's
// rounding: after the logarithm, float32 transforms differ from each other by up to 1e-4 in quiet frequencies beside
// loud ones. See log_mel.h.
#include "media/log_mel.h"

#include <kissfft/kissfft.hh>

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <numbers>
#include <string>

#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::int64_t kTransformSize = 400;  // 25 ms
constexpr int kNumBins = kTransformSize / 2 + 1;
/// Power below this counts as this: silence has a logarithm too.
constexpr float kLeastPower = 1e-10F;
/// Decades below the loudest value of the chunk that are kept.
constexpr float kDynamicRange = 8.0F;
/// Frames whose features are gathered before they are written into the rows of the result, to use whole cache lines.
constexpr std::int64_t kFramesPerBlock = 16;

/// Slaney's scale: 3 mels to 200 Hz up to 1 kHz, above it 27 mels to a factor of 6.4.
constexpr double kLinearHzPerMel = 200.0 / 3.0;
constexpr double kBreakHz = 1000.0;
constexpr double kBreakMel = kBreakHz / kLinearHzPerMel;
const double kLogStep = std::log(6.4) / 27.0;

double mel_of_hz(double hz) {
  return hz < kBreakHz ? hz / kLinearHzPerMel : kBreakMel + std::log(hz / kBreakHz) / kLogStep;
}
double hz_of_mel(double mel) {
  return mel < kBreakMel ? mel * kLinearHzPerMel : kBreakHz * std::exp(kLogStep * (mel - kBreakMel));
}

/// The sample at `index` of a signal of `length` whose ends are mirrored without repeating the end itself; samples from
/// `samples.size()` on are silence.
float mirrored(std::span<const float> samples, std::int64_t index, std::int64_t length) {
  if (index < 0) index = -index;
  if (index >= length) index = 2 * (length - 1) - index;
  return index < static_cast<std::int64_t>(samples.size()) ? samples[static_cast<std::size_t>(index)] : 0.0F;
}

}  // namespace

std::vector<float> mel_filters(int num_mels) {
  const double top = mel_of_hz(kMelSampleRateHz / 2.0);
  std::vector<double> edges_hz;
  for (int i = 0; i < num_mels + 2; ++i) edges_hz.push_back(hz_of_mel(top * i / (num_mels + 1)));
  std::vector<float> filters(static_cast<std::size_t>(num_mels) * kNumBins);
  for (std::size_t m = 0; m < static_cast<std::size_t>(num_mels); ++m) {
    const double low = edges_hz[m];
    const double centre = edges_hz[m + 1];
    const double high = edges_hz[m + 2];
    for (int bin = 0; bin < kNumBins; ++bin) {
      const double hz = bin * static_cast<double>(kMelSampleRateHz) / kTransformSize;
      const double height = std::min((hz - low) / (centre - low), (high - hz) / (high - centre));
      filters[m * kNumBins + bin] = static_cast<float>(std::max(0.0, height) * 2.0 / (high - low));
    }
  }
  return filters;
}

LogMel::LogMel(int num_mels) : num_mels_(num_mels) {
  if (num_mels < 1 || num_mels > 200) {
    throw Error(ErrorKind::kUnsupported, "log-mel features have 1 to 200 bands, not " + std::to_string(num_mels));
  }
  for (std::int64_t i = 0; i < kTransformSize; ++i) {
    window_.push_back(0.5 - 0.5 * std::cos(2.0 * std::numbers::pi * static_cast<double>(i) / kTransformSize));
  }
  const std::vector<float> filters = mel_filters(num_mels);
  for (int m = 0; m < num_mels; ++m) {
    const auto row = filters.begin() + static_cast<std::ptrdiff_t>(m) * kNumBins;
    const auto is_used = [](float weight) { return weight != 0.0F; };
    const auto first = std::find_if(row, row + kNumBins, is_used);
    auto last = first;
    for (auto at = first; at != row + kNumBins; ++at) {
      if (is_used(*at)) last = at + 1;
    }
    bands_.push_back({static_cast<int>(first - row), {first, last}});
  }
}

void LogMel::compute(std::span<const float> samples, std::int64_t num_frames, std::span<float> features) const {
  const std::int64_t length = num_frames * kMelHopSamples;
  const auto num_samples = static_cast<std::int64_t>(samples.size());
  if (num_frames < 2 || num_samples > length || static_cast<std::int64_t>(features.size()) != num_frames * num_mels_) {
    throw Error(ErrorKind::kInternal, "log-mel features of " + std::to_string(num_samples) + " samples do not fit " +
                                          std::to_string(num_frames) + " frames and " +
                                          std::to_string(features.size()) + " values");
  }
  const kissfft<double> transform(kTransformSize / 2, false);
  std::array<double, kTransformSize> windowed;
  std::array<std::complex<double>, kNumBins> spectrum;
  std::array<float, kNumBins> power;
  std::vector<float> block(static_cast<std::size_t>(num_mels_ * kFramesPerBlock));
  const float silence = std::log10(kLeastPower);
  float largest = silence;

  for (std::int64_t block_begin = 0; block_begin < num_frames; block_begin += kFramesPerBlock) {
    const std::int64_t block_size = std::min(kFramesPerBlock, num_frames - block_begin);
    for (std::int64_t t = 0; t < block_size; ++t) {
      float* const values = block.data() + t * num_mels_;
      const std::int64_t begin = (block_begin + t) * kMelHopSamples - kTransformSize / 2;
      // Wholly behind the samples, and before what the end mirrors.
      if (begin >= num_samples && begin + kTransformSize <= length) {
        std::fill_n(values, num_mels_, silence);
        continue;
      }
      if (begin >= 0 && begin + kTransformSize <= num_samples) {
        for (std::int64_t i = 0; i < kTransformSize; ++i) windowed[i] = window_[i] * samples[begin + i];
      } else {
        for (std::int64_t i = 0; i < kTransformSize; ++i)
          windowed[i] = window_[i] * mirrored(samples, begin + i, length);
      }
      transform.transform_real(windowed.data(), spectrum.data());
      // The real transform packs its last value, which is real, beside the first.
      spectrum[kNumBins - 1] = spectrum[0].imag();
      spectrum[0] = spectrum[0].real();
      for (int bin = 0; bin < kNumBins; ++bin) {
        const std::complex<double> value = spectrum[bin];
        power[bin] = static_cast<float>(value.real() * value.real() + value.imag() * value.imag());
      }
      for (int m = 0; m < num_mels_; ++m) {
        const Band& band = bands_[m];
        float sum = 0;
        for (std::size_t i = 0; i < band.weights.size(); ++i) sum += band.weights[i] * power[band.first_bin + i];
        values[m] = std::log10(std::max(sum, kLeastPower));
        largest = std::max(largest, values[m]);
      }
    }
    for (int m = 0; m < num_mels_; ++m) {
      float* const row = features.data() + m * num_frames + block_begin;
      for (std::int64_t t = 0; t < block_size; ++t) row[t] = block[static_cast<std::size_t>(t * num_mels_ + m)];
    }
  }
  const float least = largest - kDynamicRange;
  for (float& value : features) value = (std::max(value, least) + 4.0F) / 4.0F;
}

}  // namespace pajamas

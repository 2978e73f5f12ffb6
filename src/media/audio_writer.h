// Writing mono audio as it is made: WAV and FLAC, to a file that appears whole or not at all, or to standard output.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace pajamas {

enum class AudioFileFormat { kWavInt16, kWavFloat32, kFlacInt16 };

/// By the extension: .wav (16-bit), .flac; "-" is WAV. Throws Error{kUsage} for another, listing these.
AudioFileFormat audio_format_of(const std::filesystem::path& path);

/// Mono samples into a file. Integers are rounded and clipped. Use from one thread at a time.
class AudioWriter {
 public:
  /// `path`, or "-" for standard output. A WAV on standard output says that its length is not known and is written at
  /// once; FLAC is gathered in a temporary file until finish(). Throws Error{kBadInput} with the system's reason,
  /// Error{kUsage} for a rate that the format cannot hold and where standard output is a terminal.
  AudioWriter(const std::filesystem::path& path, AudioFileFormat format, int sample_rate_hz);
  /// Without finish() nothing is left of a file.
  ~AudioWriter();
  AudioWriter(const AudioWriter&) = delete;
  AudioWriter& operator=(const AudioWriter&) = delete;

  /// Throws Error{kInternal} for a sample that is not finite; Error{kBadInput} when the disk is full, the reader of a
  /// pipe is gone, or a WAV would pass 4 GiB.
  void write(std::span<const float> samples);
  /// Puts the file in place. Throws as write().
  void finish();
  std::int64_t num_samples() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pajamas

// Reading audio of any format, rate and number of channels as one stream of mono samples at one rate. Nothing is held
// but the block at hand: ten hours take the memory of a second. Writing is audio_writer.h's.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/cancel.h"

namespace pajamas {

/// Encodings of samples without a header. Little-endian, interleaved.
enum class RawEncoding { kUint8, kInt16, kInt24, kInt32, kFloat32, kFloat64, kMuLaw, kALaw };

/// Audio that does not say itself what it is.
struct RawAudio {
  RawEncoding encoding = RawEncoding::kInt16;
  int sample_rate_hz = 16000;
  int num_channels = 1;
};

/// "s16le:16000" or "f32le:48000:2": encoding (u8, s16le, s24le, s32le, f32le, f64le, mulaw, alaw), rate in hertz and
/// channels (1 when left out). Throws Error{kUsage} saying what is wrong.
RawAudio parse_raw_audio(std::string_view text);

/// What a source is before mixing and resampling.
struct AudioFormat {
  int sample_rate_hz = 0;
  int num_channels = 0;
  std::string name;  ///< "FLAC, 16-bit PCM"; for messages.
};

struct AudioReaderOptions {
  int sample_rate_hz = 16000;           ///< Of what comes out.
  std::optional<RawAudio> raw = {};     ///< Set: the source has no header and is this.
  std::string ffmpeg = "ffmpeg";        ///< Program for what libsndfile does not read, found on PATH; empty: none.
  const CancelToken* cancel = nullptr;  ///< Stops waiting for a pipe or for ffmpeg.
};

/// Mono float32 samples of a file or pipe, in [-1, 1] unless a file of floats holds larger ones. Channels are averaged.
///
/// libsndfile reads WAV, FLAC, MP3, OGG (Vorbis, Opus), AIFF, AU, CAF and more; what it does not take goes through the
/// program ffmpeg: M4A, WebM, the sound of videos. Of a pipe, WAV and raw samples are decoded as they arrive, also WAV
/// of unknown length; anything else is first copied to an unnamed temporary file until the pipe ends. Use from one
/// thread at a time.
class AudioReader {
 public:
  /// Opens a path, or standard input for "-". Decodes the first block, so that a reader that was made has samples.
  /// Throws Error{kBadInput}: missing, a folder, not audio, no samples at all, a rate outside 1 kHz to 768 kHz, ffmpeg
  /// needed but not installed (the remedy says so). kUsage: options that cannot be. kCancelled.
  explicit AudioReader(const std::filesystem::path& path, const AudioReaderOptions& options = {});
  /// The same over an encoded file in memory, which must outlive the reader.
  explicit AudioReader(std::span<const std::byte> bytes, const AudioReaderOptions& options = {});
  ~AudioReader();
  AudioReader(AudioReader&&) noexcept;
  AudioReader& operator=(AudioReader&&) noexcept;

  /// Writes the next samples and gives their number: at least one, as many as are at hand; 0 at the end, and from then
  /// on. Throws Error{kBadInput} naming the time for a sample that is not a finite number (all samples before it were
  /// given), or when the file cannot be read any more; kCancelled. Nothing follows an error.
  std::size_t read(std::span<float> samples);

  /// Format of the source.
  const AudioFormat& format() const noexcept;
  /// Number of samples that will have been given at the end, where the source announces it; an estimate for MP3 and for
  /// what ffmpeg reads.
  std::optional<std::int64_t> num_samples() const noexcept;
  /// Samples given so far.
  std::int64_t position() const noexcept;
  /// After the end: what is missing of a file that was cut off, or what was wrong with it ("ends after 12.3 s though
  /// its header announces 60.0 s"). Empty for a whole file. What was there has been given all the same.
  const std::string& warning() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pajamas

// Inside of audio_reader.h: where samples come from, as their source has them, and the streams of bytes below.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "base/descriptor.h"
#include "media/audio_reader.h"

namespace pajamas {

/// Bytes that come one after another and cannot be read twice.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// Fills `bytes`, waiting for them; fewer only at the end. Throws Error{kBadInput} with the system's reason, and
  /// Error{kCancelled}.
  virtual std::size_t read(std::span<std::byte> bytes) = 0;
};

/// Bytes in memory, which must outlive the stream.
class MemoryStream final : public ByteStream {
 public:
  explicit MemoryStream(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::size_t read(std::span<std::byte> bytes) override {
    const std::size_t count = std::min(bytes.size(), bytes_.size());
    std::copy_n(bytes_.begin(), count, bytes.begin());
    bytes_ = bytes_.subspan(count);
    return count;
  }

 private:
  std::span<const std::byte> bytes_;
};

/// Decoded audio at its own rate and with its own channels. Use from one thread at a time.
class AudioSource {
 public:
  virtual ~AudioSource() = default;
  virtual AudioFormat format() const = 0;
  /// Frames (one sample of each channel) that the source announces; nothing where it does not say.
  virtual std::optional<std::int64_t> num_frames() const = 0;
  /// Fills `samples`, interleaved, with whole frames and gives their number: fewer than fit only at the end.
  virtual std::int64_t read(std::span<float> samples) = 0;
  /// After the end: what is missing of the source or wrong with it; empty where nothing is.
  virtual std::string complaint() = 0;
};

/// Bytes of one sample.
int bytes_of(RawEncoding encoding) noexcept;

/// Audio in a seekable file. Throws Error{kBadInput} when libsndfile cannot read it: then another reader may.
std::unique_ptr<AudioSource> open_sound_file(Descriptor descriptor);
/// The same in memory, which must outlive the source.
std::unique_ptr<AudioSource> open_sound_bytes(std::span<const std::byte> bytes);
/// Samples without a header (or behind it) as they arrive; `num_bytes`, where known, are all that belong to the sound.
/// `name` is that of the format.
std::unique_ptr<AudioSource> open_raw_stream(std::unique_ptr<ByteStream> stream, const RawAudio& raw,
                                             std::optional<std::uint64_t> num_bytes, std::string name);

/// What stands before the samples of a WAV file.
struct WavHeader {
  RawAudio raw;
  std::string name;       ///< "WAV, 16-bit PCM"
  bool is_plain = false;  ///< The encoding is one of RawEncoding; otherwise `raw` does not describe the samples.
  /// Nothing where the header does not say, as programs leave it that write into pipes.
  std::optional<std::uint64_t> num_data_bytes;
};

/// Reads a stream up to the first byte of sound and gives the header, or nothing when this is no WAV of that kind. What
/// was read is appended to `consumed` in both cases; of a header, at most 16 MiB.
std::optional<WavHeader> read_wav_header(ByteStream& stream, std::vector<std::byte>& consumed);

/// Whatever the program ffmpeg decodes; `descriptor`, a seekable file, stays the caller's and is not needed afterwards.
/// The program runs until the source is destroyed, which ends it. Throws Error{kBadInput} with `why_not_directly` when
/// the program is not installed or finds no audio, and Error{kInternal} when it cannot be started.
std::unique_ptr<AudioSource> open_with_ffmpeg(int descriptor, const std::string& program,
                                              const std::string& why_not_directly, const CancelToken* cancel);

}  // namespace pajamas

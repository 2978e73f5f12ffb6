// Which of the sources reads what, and what is done to samples on their way: the check for numbers that are none, the
// mean of the channels, the rate. See audio_reader.h; the sources are declared in audio_source.h.
#include "media/audio_reader.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "base/descriptor.h"
#include "base/staged_file.h"
#include "media/audio_resampler.h"
#include "media/audio_source.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr int kPollMs = 100;
/// A block is this part of a second (so that a live pipe is not kept waiting), and no more samples than the other.
constexpr int kBlocksPerSecond = 20;
constexpr std::int64_t kMaxBlockSamples = 1 << 20;
/// What a file may lack of the length its header announces before that is worth a warning: encoders pad and round.
constexpr double kToleratedShortageSeconds = 0.1;

/// Longer announcements, 500 years at 16 kHz, are none.
constexpr std::int64_t kMaxFrames = std::int64_t{1} << 48;

std::string seconds_text(double seconds) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), seconds < 100 ? "%.3f s" : "%.1f s", seconds);
  return text.data();
}

/// Reads a descriptor to its end: a pipe, or a file from where it stands. A limit of time is the token's.
class DescriptorStream final : public ByteStream {
 public:
  DescriptorStream(Descriptor descriptor, const CancelToken* cancel)
      : descriptor_(std::move(descriptor)), cancel_(cancel) {}
  std::size_t read(std::span<std::byte> bytes) override {
    std::size_t done = 0;
    while (done < bytes.size()) {
      if (cancel_ != nullptr) {
        cancel_->check("Reading audio");
        pollfd wait_for{descriptor_.get(), POLLIN, 0};
        if (::poll(&wait_for, 1, kPollMs) == 0) continue;
      }
      const ssize_t got = ::read(descriptor_.get(), bytes.data() + done, bytes.size() - done);
      if (got == 0) break;
      if (got > 0) {
        done += static_cast<std::size_t>(got);
      } else if (errno != EINTR && errno != EAGAIN) {
        throw Error(ErrorKind::kBadInput, "cannot read: " + system_reason(errno));
      }
    }
    return done;
  }

 private:
  Descriptor descriptor_;
  const CancelToken* cancel_;
};

Descriptor duplicate(int descriptor) {
  Descriptor copy(::fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!copy.is_open()) throw Error(ErrorKind::kBadInput, "cannot read: " + system_reason(errno));
  return copy;
}

/// A temporary file with `consumed` and the rest of the stream, at its beginning.
Descriptor spool(std::span<const std::byte> consumed, ByteStream* rest) {
  Descriptor file = open_unnamed_file();
  const auto keep = [&](std::span<const std::byte> bytes) {
    try {
      write_all(file.get(), bytes, {});
    } catch (const Error& error) {
      throw Error(error.kind(), "cannot keep what comes from the pipe in a temporary file: " + error.message(), {},
                  "free some space, set TMPDIR to another folder, or give the audio as a file or as WAV");
    }
  };
  keep(consumed);
  std::vector<std::byte> block(rest != nullptr ? 1U << 16 : 0);
  while (rest != nullptr) {
    const std::size_t got = rest->read(block);
    keep({block.data(), got});
    if (got < block.size()) break;
  }
  ::lseek(file.get(), 0, SEEK_SET);
  return file;
}

/// Bytes of sound that a WAV file announces, where it says; the file is read from its beginning and left there.
struct AnnouncedWav {
  std::optional<WavHeader> header;
  std::uint64_t data_offset = 0;
};
AnnouncedWav announced_wav(int descriptor) {
  DescriptorStream stream(duplicate(descriptor), nullptr);
  std::vector<std::byte> consumed;
  AnnouncedWav result;
  result.header = read_wav_header(stream, consumed);
  result.data_offset = consumed.size();
  ::lseek(descriptor, 0, SEEK_SET);
  return result;
}

/// What can be made of an announced length when less came.
enum class Announcement {
  kExact,
  kEstimate,     ///< MP3: from the first frames where no header says it.
  kMeansNothing  ///< Of ffmpeg: that of the longest stream of the file.
};

/// A source together with how many frames its header announced, when that is more exact than what the source knows.
struct OpenedSource {
  std::unique_ptr<AudioSource> source;
  std::optional<std::int64_t> num_announced_frames;
  Announcement announcement = Announcement::kExact;
};

OpenedSource opened(std::unique_ptr<AudioSource> source) {
  const std::optional<std::int64_t> num_frames = source->num_frames();
  const bool is_mpeg = source->format().name.find("MPEG") != std::string::npos;
  return {std::move(source), num_frames, is_mpeg ? Announcement::kEstimate : Announcement::kExact};
}

OpenedSource opened_with_ffmpeg(int descriptor, const AudioReaderOptions& options, const std::string& why_not) {
  if (options.ffmpeg.empty()) {
    throw Error(ErrorKind::kBadInput, "holds no audio that can be read: " + why_not, {},
                "check that it is an audio file, and whole");
  }
  OpenedSource result = opened(open_with_ffmpeg(descriptor, options.ffmpeg, why_not, options.cancel));
  result.announcement = Announcement::kMeansNothing;
  return result;
}

/// libsndfile takes the length of a WAV file from what is there, without a word when the header says more.
void announce(OpenedSource& opened_source, const WavHeader& header) {
  if (!header.is_plain || !header.num_data_bytes) return;
  opened_source.num_announced_frames =
      static_cast<std::int64_t>(*header.num_data_bytes / (static_cast<std::uint64_t>(bytes_of(header.raw.encoding)) *
                                                          static_cast<std::uint64_t>(header.raw.num_channels)));
}

/// A seekable file.
OpenedSource open_file(Descriptor file, const AudioReaderOptions& options) {
  struct stat status {};
  if (::fstat(file.get(), &status) == 0 && status.st_size == 0) {
    throw Error(ErrorKind::kBadInput, "the file is empty", {}, "give a file with audio in it");
  }
  if (options.raw) {
    const auto num_bytes = static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0));
    return opened(open_raw_stream(std::make_unique<DescriptorStream>(std::move(file), nullptr), *options.raw, num_bytes,
                                  "raw samples"));
  }
  const AnnouncedWav wav = announced_wav(file.get());
#ifdef PAJAMAS_NO_AUDIO_LIBRARIES
  if (wav.header && wav.header->is_plain && wav.header->raw.sample_rate_hz > 0) {
    ::lseek(file.get(), static_cast<off_t>(wav.data_offset), SEEK_SET);
    return opened(open_raw_stream(std::make_unique<DescriptorStream>(std::move(file), nullptr), wav.header->raw,
                                  wav.header->num_data_bytes, wav.header->name));
  }
#endif
  std::string why_not;
  try {
    OpenedSource result = opened(open_sound_file(duplicate(file.get())));
    if (wav.header) announce(result, *wav.header);
    return result;
  } catch (const Error& error) {
    why_not = error.message();
  }
  return opened_with_ffmpeg(file.get(), options, why_not);
}

/// What can be read only once.
OpenedSource open_pipe(std::unique_ptr<ByteStream> stream, const AudioReaderOptions& options) {
  if (options.raw) return opened(open_raw_stream(std::move(stream), *options.raw, std::nullopt, "raw samples"));
  std::vector<std::byte> consumed;
  const std::optional<WavHeader> header = read_wav_header(*stream, consumed);
  // A rate of zero is left to libsndfile, which has a sentence for it.
  if (header && header->is_plain && header->raw.sample_rate_hz > 0) {
    return opened(open_raw_stream(std::move(stream), header->raw, header->num_data_bytes, header->name));
  }
  if (consumed.empty()) throw Error(ErrorKind::kBadInput, "is empty", {}, "give audio");
  return open_file(spool(consumed, stream.get()), options);
}

OpenedSource open_path(const std::filesystem::path& path, const AudioReaderOptions& options) {
  Descriptor file;
  if (path == "-") {
    file = duplicate(STDIN_FILENO);
    if (::isatty(file.get()) != 0) {
      throw Error(ErrorKind::kUsage, "is a terminal, which gives no audio", {},
                  "pipe audio in, or name a file instead of '-'");
    }
  } else {
    file.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.is_open())
      throw Error(ErrorKind::kBadInput, "cannot open: " + system_reason(errno), {}, "check the path");
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw Error(ErrorKind::kBadInput, "cannot read: " + system_reason(errno));
  if (S_ISDIR(status.st_mode)) {
    throw Error(ErrorKind::kBadInput, "is a folder, not an audio file", {}, "name the files in it");
  }
  // A file given as standard input may have been read in part; its rest is then as good as a pipe.
  const bool is_whole_file = S_ISREG(status.st_mode) && ::lseek(file.get(), 0, SEEK_CUR) == 0;
  if (is_whole_file) return open_file(std::move(file), options);
  return open_pipe(std::make_unique<DescriptorStream>(std::move(file), options.cancel), options);
}

OpenedSource open_bytes(std::span<const std::byte> bytes, const AudioReaderOptions& options) {
  if (bytes.empty()) throw Error(ErrorKind::kBadInput, "the audio is empty", {}, "give audio");
  if (options.raw) {
    return opened(open_raw_stream(std::make_unique<MemoryStream>(bytes), *options.raw, bytes.size(), "raw samples"));
  }
  std::string why_not;
  try {
    OpenedSource result = opened(open_sound_bytes(bytes));
    MemoryStream stream(bytes);
    std::vector<std::byte> consumed;
    if (const auto header = read_wav_header(stream, consumed)) announce(result, *header);
    return result;
  } catch (const Error& error) {
    why_not = error.message();
  }
  // Without ffmpeg no copy is needed to say so.
  const Descriptor file = options.ffmpeg.empty() ? Descriptor() : spool(bytes, nullptr);
  return opened_with_ffmpeg(file.get(), options, why_not);
}

void require_options(const AudioReaderOptions& options) {
  if (!options.raw) return;
  if (options.raw->num_channels < 1 || options.raw->num_channels > 1024) {
    throw Error(ErrorKind::kUsage,
                "raw audio has 1 to 1024 channels, not " + std::to_string(options.raw->num_channels));
  }
}

}  // namespace

struct AudioReader::State {
  State(OpenedSource opened_source, const AudioReaderOptions& options)
      : source(std::move(opened_source)),
        format(source.source->format()),
        resampler(format.sample_rate_hz, options.sample_rate_hz) {
    const std::int64_t block_frames =
        std::clamp<std::int64_t>(format.sample_rate_hz / kBlocksPerSecond, 1, kMaxBlockSamples / format.num_channels);
    interleaved.resize(static_cast<std::size_t>(block_frames * format.num_channels));
    if (source.num_announced_frames.value_or(0) > kMaxFrames) source.num_announced_frames.reset();
    if (source.num_announced_frames) {
      num_samples = AudioResampler::num_output_samples(*source.num_announced_frames, format.sample_rate_hz,
                                                       options.sample_rate_hz);
    }
  }

  OpenedSource source;
  AudioFormat format;
  AudioResampler resampler;
  std::vector<float> interleaved;
  std::vector<float> mono;
  std::vector<float> pending;  ///< Made and not yet given, from pending_begin on.
  std::size_t pending_begin = 0;
  std::int64_t num_frames_read = 0;
  std::int64_t num_given = 0;
  std::optional<std::int64_t> num_samples;
  bool is_ended = false;
  std::optional<Error> error;  ///< Thrown when everything before it was given.
  std::string warning;

  double seconds_read() const { return static_cast<double>(num_frames_read) / format.sample_rate_hz; }

  void end() {
    is_ended = true;
    resampler.finish(pending);
  }

  /// Decodes the next block into `pending`.
  void pull() {
    pending.clear();
    pending_begin = 0;
    std::int64_t got = 0;
    try {
      got = source.source->read(interleaved);
    } catch (const Error& failure) {
      error = failure;
      end();
      return;
    }
    if (got == 0) {
      end();
      describe_end();
      return;
    }
    const auto num_channels = static_cast<std::size_t>(format.num_channels);
    mono.resize(static_cast<std::size_t>(got));
    for (std::size_t i = 0; i < mono.size(); ++i) {
      float sum = 0;
      for (std::size_t c = 0; c < num_channels; ++c) sum += interleaved[i * num_channels + c];
      mono[i] = num_channels == 1 ? sum : sum / static_cast<float>(num_channels);
    }
    // The mean is not finite where a channel is not, or where finite ones are beyond all sound.
    const auto bad = std::find_if(mono.begin(), mono.end(), [](float sample) { return !std::isfinite(sample); });
    const auto num_good = static_cast<std::size_t>(bad - mono.begin());
    num_frames_read += static_cast<std::int64_t>(num_good);
    resampler.push(std::span(mono).first(num_good), pending);
    if (bad == mono.end()) return;
    error = Error(ErrorKind::kBadInput, "the sample at " + seconds_text(seconds_read()) + " is not a finite number", {},
                  "repair the file, or cut it before that time");
    end();
  }

  void describe_end() {
    warning = source.source->complaint();
    if (!source.num_announced_frames || source.announcement == Announcement::kMeansNothing) return;
    const double expected_s = static_cast<double>(*source.num_announced_frames) / format.sample_rate_hz;
    const double shortage_s = expected_s - seconds_read();
    const bool is_exact = source.announcement == Announcement::kExact;
    const double tolerance_s = is_exact ? kToleratedShortageSeconds : std::max(1.0, expected_s / 10);
    if (shortage_s <= tolerance_s) return;
    warning = "ends after " + seconds_text(seconds_read()) +
              (is_exact ? " though its header announces " : " where its header lets expect ") +
              seconds_text(expected_s) + (is_exact ? "" : ", so that it may have been cut off") +
              (warning.empty() ? "" : "; " + warning);
  }

  /// A reader that cannot give a single sample is refused.
  void require_samples() {
    while (pending.empty() && !is_ended) pull();
    if (!pending.empty()) return;
    if (error) throw Error(*error);
    std::string message = num_frames_read == 0 ? "holds no samples" : "is shorter than one sample";
    if (!warning.empty()) message += " (" + warning + ")";
    throw Error(ErrorKind::kBadInput, message, {}, "give audio that is longer than nothing");
  }
};

namespace {

/// Errors name the source.
template <typename Work>
auto with_name(const std::string& name, const Work& work) {
  try {
    return work();
  } catch (const Error& error) {
    throw error.with_context(name);
  }
}

}  // namespace

AudioReader::AudioReader(const std::filesystem::path& path, const AudioReaderOptions& options) {
  with_name(path == "-" ? "standard input" : path.string(), [&] {
    require_options(options);
    state_ = std::make_unique<State>(open_path(path, options), options);
    state_->require_samples();
  });
}

AudioReader::AudioReader(std::span<const std::byte> bytes, const AudioReaderOptions& options) {
  require_options(options);
  state_ = std::make_unique<State>(open_bytes(bytes, options), options);
  state_->require_samples();
}

AudioReader::~AudioReader() = default;
AudioReader::AudioReader(AudioReader&&) noexcept = default;
AudioReader& AudioReader::operator=(AudioReader&&) noexcept = default;

std::size_t AudioReader::read(std::span<float> samples) {
  State& state = *state_;
  if (samples.empty()) return 0;
  while (state.pending_begin == state.pending.size()) {
    if (state.is_ended) {
      if (state.error) throw Error(*state.error);
      return 0;
    }
    state.pull();
  }
  const std::size_t count = std::min(samples.size(), state.pending.size() - state.pending_begin);
  std::copy_n(state.pending.begin() + static_cast<std::ptrdiff_t>(state.pending_begin), count, samples.begin());
  state.pending_begin += count;
  state.num_given += static_cast<std::int64_t>(count);
  return count;
}

const AudioFormat& AudioReader::format() const noexcept { return state_->format; }
std::optional<std::int64_t> AudioReader::num_samples() const noexcept { return state_->num_samples; }
std::int64_t AudioReader::position() const noexcept { return state_->num_given; }
const std::string& AudioReader::warning() const noexcept { return state_->warning; }

}  // namespace pajamas

// WAV is written here, byte by byte: it must also go into pipes, which libsndfile cannot seek back in. FLAC is
// libsndfile's. See audio_writer.h.
#include "media/audio_writer.h"

#ifndef PAJAMAS_NO_AUDIO_LIBRARIES
#include <sndfile.h>
#endif
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/descriptor.h"
#include "base/staged_file.h"
#include "media/audio_resampler.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Sizes of a file whose length is not known.
constexpr std::uint32_t kUnknownSize = UINT32_MAX;
constexpr std::uint64_t kMaxWavDataBytes = UINT32_MAX - 64ULL;

/// The header up to the first sample: RIFF, a format chunk, for floats the fact chunk that the format asks for, data.
std::vector<std::byte> wav_header(bool is_float, int sample_rate_hz, std::optional<std::uint64_t> num_data_bytes) {
  std::vector<std::byte> header;
  const auto put_name = [&](const char* name) {
    for (int i = 0; i < 4; ++i) header.push_back(static_cast<std::byte>(name[i]));
  };
  const auto put = [&](std::uint32_t value, int num_bytes) {
    for (int i = 0; i < num_bytes; ++i) header.push_back(static_cast<std::byte>(value >> (8 * i) & 0xFF));
  };
  const std::uint32_t sample_bytes = is_float ? 4 : 2;
  const std::uint32_t format_bytes = is_float ? 18 : 16;
  const std::uint32_t fact_bytes = is_float ? 12 : 0;
  const auto data_bytes = static_cast<std::uint32_t>(num_data_bytes.value_or(kUnknownSize));
  put_name("RIFF");
  put(num_data_bytes ? 4 + 8 + format_bytes + fact_bytes + 8 + data_bytes : kUnknownSize, 4);
  put_name("WAVE");
  put_name("fmt ");
  put(format_bytes, 4);
  put(is_float ? 3 : 1, 2);
  put(1, 2);
  put(static_cast<std::uint32_t>(sample_rate_hz), 4);
  put(static_cast<std::uint32_t>(sample_rate_hz) * sample_bytes, 4);
  put(sample_bytes, 2);
  put(sample_bytes * 8, 2);
  if (is_float) {
    put(0, 2);
    put_name("fact");
    put(4, 4);
    put(num_data_bytes ? data_bytes / sample_bytes : kUnknownSize, 4);
  }
  put_name("data");
  put(data_bytes, 4);
  return header;
}

}  // namespace

AudioFileFormat audio_format_of(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); });
  if (extension == ".wav" || path == "-") return AudioFileFormat::kWavInt16;
  if (extension == ".flac") return AudioFileFormat::kFlacInt16;
  throw Error(ErrorKind::kUsage, "is not a name of an audio file that can be written", path.string(),
              "end the name in .wav or .flac");
}

struct AudioWriter::State {
  std::string where;
  AudioFileFormat format = AudioFileFormat::kWavInt16;
  int sample_rate_hz = 0;
  std::optional<StagedFile> staged;  ///< Of a path.
  Descriptor spool;                  ///< Of FLAC for standard output.
  int descriptor = -1;               ///< Where bytes go: one of the above, or standard output.
  std::int64_t num_samples = 0;
  bool is_finished = false;
  std::vector<std::byte> encoded;

  bool is_flac() const { return format == AudioFileFormat::kFlacInt16; }
  std::uint64_t sample_bytes() const { return format == AudioFileFormat::kWavFloat32 ? 4 : 2; }

#ifndef PAJAMAS_NO_AUDIO_LIBRARIES
  SNDFILE* flac = nullptr;
  ~State() {
    if (flac != nullptr) ::sf_close(flac);
  }
  void open_flac() {
    SF_INFO info{};
    info.samplerate = sample_rate_hz;
    info.channels = 1;
    info.format = SF_FORMAT_FLAC | SF_FORMAT_PCM_16;
    flac = ::sf_open_fd(descriptor, SFM_WRITE, &info, SF_FALSE);
    if (flac == nullptr)
      throw Error(ErrorKind::kBadInput, std::string("cannot write FLAC: ") + ::sf_strerror(nullptr), where);
  }
  void write_flac(std::span<const std::int16_t> samples) {
    errno = 0;
    const auto wanted = static_cast<sf_count_t>(samples.size());
    if (::sf_writef_short(flac, samples.data(), wanted) != wanted)
      fail_to_write("cannot write", where, errno != 0 ? errno : EIO);
  }
  void close_flac() {
    errno = 0;
    if (::sf_close(std::exchange(flac, nullptr)) != 0) fail_to_write("cannot write", where, errno != 0 ? errno : EIO);
  }
#else
  void open_flac() {
    throw Error(ErrorKind::kUnsupported, "this build of the program writes no FLAC", where, "write a .wav file");
  }
  void write_flac(std::span<const std::int16_t>) {}
  void close_flac() {}
#endif

  void write_integers(std::span<const float> samples) {
    encoded.resize(samples.size() * 2);
    auto* const values = reinterpret_cast<std::int16_t*>(encoded.data());
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const float scaled = std::clamp(samples[i] * 32768.0F, -32768.0F, 32767.0F);
      values[i] = static_cast<std::int16_t>(std::lrint(scaled));
    }
    if (is_flac()) {
      write_flac({values, samples.size()});
    } else {
      write_all(descriptor, encoded, where);
    }
  }
};

AudioWriter::AudioWriter(const std::filesystem::path& path, AudioFileFormat format, int sample_rate_hz)
    : state_(std::make_unique<State>()) {
  State& state = *state_;
  const bool is_stdout = path == "-";
  state.where = is_stdout ? "standard output" : path.string();
  state.format = format;
  state.sample_rate_hz = sample_rate_hz;
  // FLAC's header has 20 bits for the rate, of which libFLAC takes this many.
  const int max_rate_hz = format == AudioFileFormat::kFlacInt16 ? 655'350 : kMaxSampleRateHz;
  if (sample_rate_hz < 1 || sample_rate_hz > max_rate_hz) {
    throw Error(ErrorKind::kUsage, "a sample rate of " + std::to_string(sample_rate_hz) + " Hz cannot be written",
                state.where, "choose one up to " + std::to_string(max_rate_hz));
  }
  if (is_stdout && ::isatty(STDOUT_FILENO) != 0) {
    throw Error(ErrorKind::kUsage, "is a terminal, which shows no audio", state.where,
                "send the output into a file or a program");
  }
  if (!is_stdout) {
    state.staged.emplace(path);
    state.descriptor = state.staged->descriptor();
  } else if (state.is_flac()) {
    state.spool = open_unnamed_file();
    state.descriptor = state.spool.get();
  } else {
    state.descriptor = STDOUT_FILENO;
  }
  if (state.is_flac()) {
    state.open_flac();
  } else {
    write_all(state.descriptor, wav_header(format == AudioFileFormat::kWavFloat32, sample_rate_hz, std::nullopt),
              state.where);
  }
}

AudioWriter::~AudioWriter() = default;

void AudioWriter::write(std::span<const float> samples) {
  State& state = *state_;
  if (state.is_finished) throw Error(ErrorKind::kInternal, "audio was written after its end", state.where);
  const auto bad = std::find_if(samples.begin(), samples.end(), [](float sample) { return !std::isfinite(sample); });
  if (bad != samples.end()) {
    throw Error(ErrorKind::kInternal,
                "sample " + std::to_string(state.num_samples + (bad - samples.begin())) +
                    " to be written is not a finite number",
                state.where);
  }
  const std::uint64_t num_bytes =
      (static_cast<std::uint64_t>(state.num_samples) + samples.size()) * state.sample_bytes();
  if (!state.is_flac() && state.staged && num_bytes > kMaxWavDataBytes) {
    throw Error(ErrorKind::kBadInput, "a WAV file holds at most 4 GiB", state.where, "write a .flac file");
  }
  if (state.format == AudioFileFormat::kWavFloat32) {
    write_all(state.descriptor, std::as_bytes(samples), state.where);
  } else {
    // In pieces, so that the copy stays small whatever the caller brings.
    constexpr std::size_t kPiece = 1 << 16;
    for (std::size_t at = 0; at < samples.size(); at += kPiece) {
      state.write_integers(samples.subspan(at, std::min(kPiece, samples.size() - at)));
    }
  }
  state.num_samples += static_cast<std::int64_t>(samples.size());
}

void AudioWriter::finish() {
  State& state = *state_;
  if (std::exchange(state.is_finished, true)) return;
  if (state.is_flac()) {
    state.close_flac();
    if (!state.spool.is_open()) return state.staged->commit();
    ::lseek(state.spool.get(), 0, SEEK_SET);
    std::vector<std::byte> block(1 << 16);
    for (;;) {
      const ssize_t got = ::read(state.spool.get(), block.data(), block.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail_to_write("cannot write", state.where, errno);
      if (got == 0) return;
      write_all(STDOUT_FILENO, {block.data(), static_cast<std::size_t>(got)}, state.where);
    }
  }
  if (!state.staged) return;
  const std::uint64_t num_bytes = static_cast<std::uint64_t>(state.num_samples) * state.sample_bytes();
  ::lseek(state.descriptor, 0, SEEK_SET);
  write_all(state.descriptor, wav_header(state.format == AudioFileFormat::kWavFloat32, state.sample_rate_hz, num_bytes),
            state.where);
  state.staged->commit();
}

std::int64_t AudioWriter::num_samples() const noexcept { return state_->num_samples; }

}  // namespace pajamas

// Every format the reader meets, as files, pipes and bytes; damaged, endless and absurd ones. The files come from
// tools/goldens/make_audio_goldens.py: a tone whose value at any time is known.
#include "media/audio_reader.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <functional>
#include <limits>
#include <numbers>
#include <string>
#include <thread>
#include <vector>

#include "base/files.h"
#include "media/audio_writer.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"

namespace pajamas {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::filesystem::path data(const std::string& name) {
  return std::filesystem::path(PAJAMAS_TEST_DATA) / "audio" / name;
}

bool has_ffmpeg() {
  static const bool has = std::system("ffmpeg -version >/dev/null 2>&1") == 0;
  return has;
}

AudioReaderOptions without_ffmpeg() {
  AudioReaderOptions options;
  options.ffmpeg.clear();
  return options;
}

std::vector<float> read_all(AudioReader& reader, std::size_t block_size = 1000) {
  std::vector<float> all;
  std::vector<float> block(block_size);
  while (const std::size_t got = reader.read(block)) {
    all.insert(all.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(got));
  }
  EXPECT_EQ(reader.position(), static_cast<std::int64_t>(all.size()));
  EXPECT_EQ(reader.read(block), 0U);
  return all;
}

std::string error_of(const std::function<void()>& work, ErrorKind kind = ErrorKind::kBadInput) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

/// The tone of the files, with the level of a mono mix of `num_channels`, at 16 kHz.
double tone_at(double index, int num_channels) {
  double level = 0;
  for (int c = 0; c < num_channels; ++c) level += 0.5 / (c + 1) / num_channels;
  return level * std::sin(2 * std::numbers::pi * 440 * index / 16000);
}

/// Error below the tone in decibels, away from the ends of its 3200 samples, behind which encoders pad; with
/// `max_delay` for encoders that shift by part of a frame.
double error_db(const std::vector<float>& samples, int num_channels, int max_delay = 0) {
  double best = 100;
  for (int delay = -max_delay; delay <= max_delay; ++delay) {
    double error = 0;
    double power = 0;
    for (std::size_t i = 600; i < std::min<std::size_t>(samples.size(), 2600); ++i) {
      const double expected = tone_at(static_cast<double>(i) - delay, num_channels);
      error += (samples[i] - expected) * (samples[i] - expected);
      power += expected * expected;
    }
    best = std::min(best, 10 * std::log10(error / power));
  }
  return best;
}

/// The bytes of a WAV file of 16-bit samples, with the size fields as given.
std::string wav(const std::vector<std::int16_t>& samples, std::uint32_t rate_hz = 16000, int num_channels = 1,
                std::int64_t announced_bytes = -1) {
  const auto size = static_cast<std::uint32_t>(samples.size() * 2);
  const std::uint32_t announced = announced_bytes < 0 ? size : static_cast<std::uint32_t>(announced_bytes);
  std::string bytes;
  const auto put = [&](std::uint32_t value, int count) {
    for (int i = 0; i < count; ++i) bytes += static_cast<char>(value >> (8 * i));
  };
  bytes += "RIFF";
  put(announced == UINT32_MAX ? announced : 36 + announced, 4);
  bytes += "WAVEfmt ";
  put(16, 4);
  put(1, 2);
  put(static_cast<std::uint32_t>(num_channels), 2);
  put(rate_hz, 4);
  put(rate_hz * 2 * static_cast<std::uint32_t>(num_channels), 4);
  put(2 * static_cast<std::uint32_t>(num_channels), 2);
  put(16, 2);
  bytes += "data";
  put(announced, 4);
  bytes.append(reinterpret_cast<const char*>(samples.data()), samples.size() * 2);
  return bytes;
}

std::vector<std::int16_t> ramp(std::size_t count) {
  std::vector<std::int16_t> samples(count);
  for (std::size_t i = 0; i < count; ++i) samples[i] = static_cast<std::int16_t>(i * 7 % 20011);
  return samples;
}

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

/// A named pipe that a thread fills with pieces.
class Pipe {
 public:
  Pipe(const test::TemporaryFolder& folder, std::vector<std::string> pieces) : path_(folder / "pipe") {
    std::filesystem::remove(path_);
    if (::mkfifo(path_.c_str(), 0600) != 0) throw std::runtime_error("cannot make a pipe");
    writer_ = std::thread([path = path_, content = std::move(pieces)] {
      const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
      for (const std::string& piece : content) {
        for (std::size_t at = 0; at < piece.size();) {
          const ssize_t put = ::write(file, piece.data() + at, piece.size() - at);
          if (put <= 0) break;
          at += static_cast<std::size_t>(put);
        }
      }
      ::close(file);
    });
  }
  ~Pipe() { writer_.join(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::thread writer_;
};

struct FormatCase {
  const char* name;
  int num_channels;
  int rate_hz;
  double max_error_db;
  int max_delay;
  const char* format;
};
const std::vector<FormatCase> kFormats{
    {"pcm16_stereo_44100.wav", 2, 44100, -70, 0, "WAV"},
    {"u8_mono_8000.wav", 1, 8000, -35, 0, "WAV"},
    {"pcm24_three_24000.wav", 3, 24000, -80, 0, "24 bit"},
    {"pcm32_mono_11025.wav", 1, 11025, -80, 0, "32 bit"},
    {"float_stereo_32000.wav", 2, 32000, -80, 0, "32 bit float"},
    {"double_mono_16000.wav", 1, 16000, -80, 0, "64 bit float"},
    {"mulaw_mono_8000.wav", 1, 8000, -30, 0, "U-Law"},
    {"alaw_mono_8000.wav", 1, 8000, -30, 0, "A-Law"},
    {"adpcm_mono_22050.wav", 1, 22050, -20, 0, "ADPCM"},
    {"rf64_mono_16000.wav", 1, 16000, -70, 0, "RF64"},
    {"stereo_44100.flac", 2, 44100, -70, 0, "FLAC"},
    {"stereo_44100.mp3", 2, 44100, -20, 20, "MPEG"},
    {"mono_22050.ogg", 1, 22050, -20, 0, "Vorbis"},
    {"stereo_48000.opus", 2, 48000, -20, 0, "Opus"},
    {"mono_16000.aiff", 1, 16000, -70, 0, "AIFF"},
    {"mono_16000.au", 1, 16000, -70, 0, "AU"},
};

TEST(AudioReader, ReadsEveryFormat) {
  for (const FormatCase& one : kFormats) {
    SCOPED_TRACE(one.name);
    AudioReader reader(data(one.name), without_ffmpeg());
    EXPECT_EQ(reader.format().num_channels, one.num_channels);
    EXPECT_EQ(reader.format().sample_rate_hz, one.rate_hz);
    EXPECT_THAT(reader.format().name, HasSubstr(one.format));
    const std::vector<float> samples = read_all(reader);
    EXPECT_EQ(reader.warning(), "");
    EXPECT_LT(error_db(samples, one.num_channels, one.max_delay), one.max_error_db);
    // Encoders with frames may add a frame.
    ASSERT_TRUE(reader.num_samples().has_value());
    EXPECT_NEAR(static_cast<double>(samples.size()), 3200, one.max_error_db > -30 ? 1300 : 1);
    if (one.max_delay == 0) {
      EXPECT_EQ(*reader.num_samples(), static_cast<std::int64_t>(samples.size()));
    }
  }
}

TEST(AudioReader, GivesTheSameFromBytesAndFromPipesAndWithAnyBlock) {
  const test::TemporaryFolder folder;
  for (const FormatCase& one : kFormats) {
    SCOPED_TRACE(one.name);
    AudioReader file(data(one.name), without_ffmpeg());
    const std::vector<float> samples = read_all(file);
    const std::string bytes = read_file(data(one.name));
    AudioReader memory(bytes_of(bytes), without_ffmpeg());
    EXPECT_EQ(read_all(memory, 1), samples);
    const Pipe pipe(folder, {bytes.substr(0, 5), bytes.substr(5, 900), bytes.substr(905)});
    AudioReader piped(pipe.path(), without_ffmpeg());
    const std::vector<float> from_pipe = read_all(piped, 4001);
    EXPECT_EQ(piped.warning(), "");
    ASSERT_EQ(from_pipe.size(), samples.size());
    for (std::size_t i = 0; i < samples.size(); ++i) ASSERT_NEAR(from_pipe[i], samples[i], 1e-6) << i;
  }
}

TEST(AudioReader, ReadsAWavOfUnknownLengthFromAPipeWhileItArrives) {
  const test::TemporaryFolder folder;
  const std::vector<std::int16_t> samples = ramp(16000);
  for (const std::int64_t announced : {std::int64_t{UINT32_MAX}, std::int64_t{0}, std::int64_t{0x7FFFFFFF}}) {
    SCOPED_TRACE(announced);
    const std::string bytes = wav(samples, 16000, 1, announced);
    std::filesystem::remove(folder / "live");
    ASSERT_EQ(::mkfifo((folder / "live").c_str(), 0600), 0);
    std::atomic<bool> has_first{false};
    std::thread writer([&] {
      const int file = ::open((folder / "live").c_str(), O_WRONLY | O_CLOEXEC);
      ASSERT_EQ(::write(file, bytes.data(), 10000), 10000);
      // The rest is sent only when the reader has given what came before.
      while (!has_first) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ASSERT_EQ(::write(file, bytes.data() + 10000, bytes.size() - 10000), static_cast<ssize_t>(bytes.size()) - 10000);
      ::close(file);
    });
    AudioReader reader(folder / "live", without_ffmpeg());
    EXPECT_FALSE(reader.num_samples().has_value());
    std::vector<float> block(100);
    EXPECT_EQ(reader.read(block), 100U);
    has_first = true;
    std::vector<float> all(block);
    while (const std::size_t got = reader.read(block)) {
      all.insert(all.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(got));
    }
    writer.join();
    EXPECT_EQ(reader.warning(), "");
    ASSERT_EQ(all.size(), samples.size());
    for (std::size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], static_cast<float>(samples[i]) / 32768.0F);
  }
}

TEST(AudioReader, BelievesNoLengthBeyondAllTime) {
  // RF64 has 64 bits for the length.
  std::string bytes = read_file(data("rf64_mono_16000.wav"));
  const std::size_t at = bytes.find("ds64");
  ASSERT_NE(at, std::string::npos);
  bytes.replace(at + 16, 8, std::string("\xF0\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 8));
  const test::TemporaryFolder folder;
  const Pipe pipe(folder, {bytes});
  AudioReaderOptions options = without_ffmpeg();
  options.sample_rate_hz = 48000;
  AudioReader reader(pipe.path(), options);
  EXPECT_FALSE(reader.num_samples().has_value());
  EXPECT_EQ(read_all(reader).size(), 9600U);
}

TEST(AudioReader, ReadsStandardInput) {
  const int saved = ::dup(STDIN_FILENO);
  const int file = ::open(data("stereo_44100.flac").c_str(), O_RDONLY);
  ::dup2(file, STDIN_FILENO);
  ::close(file);
  AudioReader reader("-", without_ffmpeg());
  EXPECT_LT(error_db(read_all(reader), 2), -70);
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
}

TEST(AudioReader, ReadsRawSamples) {
  const test::TemporaryFolder folder;
  const std::vector<std::int16_t> samples = ramp(2001);
  const std::string bytes(reinterpret_cast<const char*>(samples.data()), samples.size() * 2);
  write_file(folder / "raw", bytes);
  AudioReaderOptions options = without_ffmpeg();
  options.raw = parse_raw_audio("s16le:16000");
  AudioReader file(folder / "raw", options);
  EXPECT_EQ(file.num_samples(), 2001);
  const std::vector<float> all = read_all(file);
  ASSERT_EQ(all.size(), samples.size());
  for (std::size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], static_cast<float>(samples[i]) / 32768.0F);

  // Half a frame at the end is said.
  options.raw = parse_raw_audio("s16le:16000:2");
  AudioReader stereo(bytes_of(bytes), options);
  EXPECT_EQ(read_all(stereo).size(), 1000U);
  EXPECT_THAT(stereo.warning(), HasSubstr("within a sample"));

  for (const char* text : {"", "s16le", "s16le:", "s16le:0", "s16le:-5", "s16le:16000:0", "s16le:16000:2:2",
                           "s17le:16000", "s16le:16000x", "s16le:99999999999", "s16le:16000:2000"}) {
    EXPECT_THAT(error_of([&] { parse_raw_audio(text); }, ErrorKind::kUsage), HasSubstr("s16le:16000")) << text;
  }
  options.raw->sample_rate_hz = 5;
  EXPECT_THAT(error_of([&] { AudioReader(folder / "raw", options); }), HasSubstr("5 Hz"));
}

TEST(AudioReader, GivesWhatIsThereOfTruncatedFilesAndSaysWhatIsMissing) {
  const test::TemporaryFolder folder;
  const std::string bytes = wav(ramp(32000));
  write_file(folder / "cut.wav", std::string_view(bytes).substr(0, 44 + 24001));
  const auto check = [&](const std::filesystem::path& path) {
    AudioReader reader(path, without_ffmpeg());
    const std::vector<float> all = read_all(reader);
    EXPECT_EQ(all.size(), 12000U);
    EXPECT_THAT(reader.warning(), AllOf(HasSubstr("0.750 s"), HasSubstr("2.000 s")));
  };
  check(folder / "cut.wav");
  const Pipe pipe(folder, {bytes.substr(0, 44 + 24001)});
  check(pipe.path());
  const std::string cut_bytes = bytes.substr(0, 44 + 24001);
  AudioReader cut_memory(bytes_of(cut_bytes), without_ffmpeg());
  EXPECT_EQ(read_all(cut_memory).size(), 12000U);
  EXPECT_THAT(cut_memory.warning(), HasSubstr("2.000 s"));

  AudioWriter writer(folder / "whole.flac", AudioFileFormat::kFlacInt16, 16000);
  std::vector<float> noise(64000);
  std::uint32_t state = 1;
  for (float& sample : noise) {
    state = state * 1664525U + 1013904223U;
    sample = static_cast<float>(state >> 16) / 65536.0F - 0.5F;
  }
  writer.write(noise);
  writer.finish();
  const std::string flac = read_file(folder / "whole.flac");
  write_file(folder / "cut.flac", std::string_view(flac).substr(0, flac.size() / 2));
  AudioReader reader(folder / "cut.flac", without_ffmpeg());
  const std::vector<float> all = read_all(reader);
  EXPECT_GT(all.size(), 27000U);
  EXPECT_LT(all.size(), 33000U);
  EXPECT_THAT(reader.warning(), HasSubstr("4.000 s"));
  for (std::size_t i = 0; i < 27000; ++i) ASSERT_NEAR(all[i], noise[i], 1e-4) << i;

  // MP3 gives the frames that are whole; it does not know how many there should be.
  const std::string mp3 = read_file(data("stereo_44100.mp3"));
  const std::string part = mp3.substr(0, mp3.size() * 3 / 4);
  AudioReader cut_mp3(bytes_of(part), without_ffmpeg());
  EXPECT_GT(read_all(cut_mp3).size(), 500U);

  // Every shorter beginning ends in samples or an error.
  for (std::size_t size = 0; size < 200; ++size) {
    for (const std::string& whole : {bytes, flac}) {
      try {
        const std::string beginning = whole.substr(0, size);
        AudioReader cut(bytes_of(beginning), without_ffmpeg());
        read_all(cut);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << size;
      }
    }
  }
}

TEST(AudioReader, RefusesSamplesThatAreNoNumbersWithTheirTime) {
  const test::TemporaryFolder folder;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> samples(24000, 0.25F);
    samples[16000] = bad;
    const std::string bytes(reinterpret_cast<const char*>(samples.data()), samples.size() * 4);
    AudioReaderOptions options = without_ffmpeg();
    options.raw = parse_raw_audio("f32le:16000");
    AudioReader reader(bytes_of(bytes), options);
    std::vector<float> block(24000);
    std::size_t num_given = 0;
    const std::string message = error_of([&] {
      while (const std::size_t got = reader.read(block)) num_given += got;
    });
    EXPECT_THAT(message, HasSubstr("1.000 s"));
    EXPECT_EQ(num_given, 16000U) << "what came before is not lost";
    EXPECT_THROW(reader.read(block), Error);
  }
}

TEST(AudioReader, RefusesWhatIsNoAudio) {
  const test::TemporaryFolder folder;
  write_file(folder / "empty", std::string_view(""));
  write_file(folder / "text.wav", std::string_view("This is a text and no sound.\n"));
  write_file(folder / "none.wav", wav({}));
  std::filesystem::create_directory(folder / "folder");
  EXPECT_THAT(error_of([&] { AudioReader(folder / "missing.wav"); }),
              AllOf(HasSubstr("missing.wav"), HasSubstr("No such file")));
  EXPECT_THAT(error_of([&] { AudioReader(folder / "folder"); }), HasSubstr("folder"));
  EXPECT_THAT(error_of([&] { AudioReader(folder / "empty"); }), HasSubstr("is empty"));
  EXPECT_THAT(error_of([&] { AudioReader(folder / "none.wav"); }), HasSubstr("no samples"));
  EXPECT_THAT(error_of([&] { AudioReader(folder / "text.wav", without_ffmpeg()); }), HasSubstr("holds no audio"));
  EXPECT_THAT(error_of([&] { AudioReader(std::span<const std::byte>{}); }), HasSubstr("empty"));
  EXPECT_THAT(error_of([&] { AudioReader("/dev/null"); }), HasSubstr("empty"));
  const Pipe nothing(folder, {});
  EXPECT_THAT(error_of([&] { AudioReader reader(nothing.path()); }), HasSubstr("empty"));
}

TEST(AudioReader, RefusesAbsurdRates) {
  for (const std::uint32_t rate_hz : {1U, 999U, 768'001U, 2'000'000'000U}) {
    const std::string bytes = wav(ramp(100), rate_hz);
    EXPECT_THAT(error_of([&] { AudioReader(bytes_of(bytes), without_ffmpeg()); }),
                HasSubstr(std::to_string(rate_hz) + " Hz"));
  }
  const test::TemporaryFolder folder;
  for (const std::uint32_t rate_hz : {0U, 4'000'000'000U}) {
    const std::string bytes = wav(ramp(100), rate_hz);
    EXPECT_THROW(AudioReader(bytes_of(bytes), without_ffmpeg()), Error);
    const Pipe pipe(folder, {bytes});
    EXPECT_THROW(AudioReader(pipe.path(), without_ffmpeg()), Error);
  }
}

TEST(AudioReader, ReadsAHundredthOfASecondAndASingleSample) {
  for (const std::size_t count : {1U, 160U}) {
    const std::string bytes = wav(ramp(count));
    AudioReader reader(bytes_of(bytes), without_ffmpeg());
    EXPECT_EQ(read_all(reader).size(), count);
  }
  const std::string bytes = wav(ramp(1), 48000);
  EXPECT_THAT(error_of([&] { AudioReader(bytes_of(bytes), without_ffmpeg()); }), HasSubstr("shorter than one sample"));
}

/// The largest resident memory of a child that does `work`, in KiB.
long memory_of(const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    work();
    std::_Exit(0);
  }
  int status = 0;
  rusage usage{};
  ::wait4(child, &status, 0, &usage);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  return usage.ru_maxrss;
}

TEST(AudioReader, ReadsTenHoursInTheMemoryOfASecond) {
  const test::TemporaryFolder folder;
  // Holes take no room on disk and read as silence. Mono, 16 bit, at the least rate, to be quick.
  for (const auto& [name, seconds] : {std::pair{"second.wav", 1}, std::pair{"hours.wav", 36000}}) {
    const std::string header = wav({}, 1000, 1, std::int64_t{seconds} * 2000);
    write_file(folder / name, header);
    std::filesystem::resize_file(folder / name, header.size() + static_cast<std::size_t>(seconds) * 2000);
  }
  const auto read_file_through = [&](const char* name) {
    AudioReaderOptions options = without_ffmpeg();
    options.sample_rate_hz = 2000;
    AudioReader reader(folder / name, options);
    std::vector<float> block(16000);
    while (reader.read(block) > 0) {
    }
    if (reader.position() != reader.num_samples()) std::_Exit(1);
  };
  const long second = memory_of([&] { read_file_through("second.wav"); });
  const long hours = memory_of([&] { read_file_through("hours.wav"); });
  EXPECT_LT(hours, second + 4096) << "KiB";
}

TEST(AudioReader, ReadsMp4ThroughFfmpeg) {
  if (!has_ffmpeg()) GTEST_SKIP() << "the program ffmpeg is not installed";
  constexpr double kEncoderDb = -12;  // Of an AAC encoder that has hardly begun, at a delay of whole samples.
  AudioReader reader(data("stereo_44100.m4a"));
  EXPECT_EQ(reader.format().num_channels, 2);
  EXPECT_EQ(reader.format().sample_rate_hz, 44100);
  EXPECT_TRUE(reader.num_samples().has_value());
  EXPECT_LT(error_db(read_all(reader), 2, 20), kEncoderDb);
  EXPECT_EQ(reader.warning(), "");

  AudioReader video(data("video.mp4"));
  EXPECT_LT(error_db(read_all(video), 1, 20), kEncoderDb);

  const std::string bytes = read_file(data("stereo_44100.m4a"));
  AudioReader memory{bytes_of(bytes)};
  EXPECT_LT(error_db(read_all(memory), 2, 20), kEncoderDb);
  const test::TemporaryFolder folder;
  const Pipe pipe(folder, {bytes});
  AudioReader piped(pipe.path());
  EXPECT_LT(error_db(read_all(piped), 2, 20), kEncoderDb);
}

TEST(AudioReader, SaysWhatFfmpegFinds) {
  if (!has_ffmpeg()) GTEST_SKIP() << "the program ffmpeg is not installed";
  const test::TemporaryFolder folder;
  write_file(folder / "text", std::string_view("This is a text and no sound.\n"));
  EXPECT_THAT(error_of([&] { AudioReader(folder / "text"); }),
              AllOf(HasSubstr("ffmpeg finds none"), HasSubstr("Invalid data"), Not(HasSubstr("/proc/"))));
  EXPECT_THAT(error_of([&] { AudioReader(data("silent_video.mp4")); }), HasSubstr("ffmpeg finds none"));
  const std::string bytes = read_file(data("stereo_44100.m4a"));
  const std::string cut = bytes.substr(0, bytes.size() - 800);
  AudioReader reader{bytes_of(cut)};
  EXPECT_GT(read_all(reader).size(), 1000U);
  EXPECT_THAT(reader.warning(), HasSubstr("ffmpeg says"));
}

TEST(AudioReader, NamesTheCureWhereFfmpegIsMissing) {
  AudioReaderOptions options;
  options.ffmpeg = "no-such-program-of-pajamas";
  EXPECT_THAT(error_of([&] { AudioReader(data("stereo_44100.m4a"), options); }),
              AllOf(HasSubstr("not installed"), HasSubstr("package ffmpeg"), HasSubstr("libsndfile")));
}

TEST(AudioReader, LeavesNoProcessWhenClosedEarly) {
  // A program that writes for ever in place of ffmpeg: a header, then silence.
  const test::TemporaryFolder folder;
  write_file(folder / "header", wav({}, 16000, 1, UINT32_MAX));
  write_file(folder / "endless", "#!/bin/sh\necho $$ > " + (folder / "pid").string() + "\ncat " +
                                     (folder / "header").string() + "\nexec cat /dev/zero\n");
  std::filesystem::permissions(folder / "endless", std::filesystem::perms::owner_all);
  write_file(folder / "text", std::string_view("This is a text and no sound.\n"));
  AudioReaderOptions options;
  options.ffmpeg = (folder / "endless").string();
  {
    AudioReader reader(folder / "text", options);
    std::vector<float> block(50000);
    EXPECT_GT(reader.read(block), 0U);
  }
  const pid_t child = std::stoi(read_file(folder / "pid"));
  EXPECT_NE(::kill(child, 0), 0) << "the child lives, or was not waited for";

  // One that says nothing is waited for until the token is set.
  write_file(folder / "silent", std::string_view("#!/bin/sh\nexec sleep 1000\n"));
  std::filesystem::permissions(folder / "silent", std::filesystem::perms::owner_all);
  CancelToken cancel;
  options.ffmpeg = (folder / "silent").string();
  options.cancel = &cancel;
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    cancel.cancel();
  });
  error_of([&] { AudioReader(folder / "text", options); }, ErrorKind::kCancelled);
  canceller.join();
}

TEST(AudioReader, StopsWaitingForAPipeWhenCancelled) {
  const test::TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  const int keeper = ::open((folder / "pipe").c_str(), O_RDWR | O_CLOEXEC);
  CancelToken cancel;
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    cancel.cancel();
  });
  AudioReaderOptions options = without_ffmpeg();
  options.cancel = &cancel;
  error_of([&] { AudioReader(folder / "pipe", options); }, ErrorKind::kCancelled);
  canceller.join();
  ::close(keeper);
}

}  // namespace
}  // namespace pajamas

// Files as written, read back by the reader, and what is left of unfinished ones.
#include "media/audio_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "base/files.h"
#include "media/audio_reader.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"

namespace pajamas {
namespace {

using ::testing::HasSubstr;

std::vector<float> tone(std::size_t count) {
  std::vector<float> samples(count);
  for (std::size_t i = 0; i < count; ++i) {
    samples[i] = static_cast<float>(0.7 * std::sin(2 * std::numbers::pi * 440 * static_cast<double>(i) / 22050));
  }
  return samples;
}

std::vector<float> read_all(AudioReader& reader) {
  std::vector<float> all;
  std::vector<float> block(333);
  while (const std::size_t got = reader.read(block)) {
    all.insert(all.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(got));
  }
  return all;
}

AudioReaderOptions rate(int hz) {
  AudioReaderOptions options;
  options.sample_rate_hz = hz;
  return options;
}

int num_files(const std::filesystem::path& folder) {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

TEST(AudioWriter, WritesWhatIsReadBack) {
  const test::TemporaryFolder folder;
  struct Case {
    const char* name;
    AudioFileFormat format;
    float tolerance;
  };
  for (const Case& one : {Case{"a.wav", AudioFileFormat::kWavInt16, 0.5F / 32768 + 1e-7F},
                          Case{"b.wav", AudioFileFormat::kWavFloat32, 0.0F},
                          Case{"c.flac", AudioFileFormat::kFlacInt16, 0.5F / 32768 + 1e-7F}}) {
    for (const std::size_t count : {1U, 2U, 22051U}) {
      SCOPED_TRACE(one.name + std::string(" ") + std::to_string(count));
      const std::vector<float> samples = tone(count);
      AudioWriter writer(folder / one.name, one.format, 22050);
      for (std::size_t at = 0; at < count; at += 1000) {
        writer.write(std::span(samples).subspan(at, std::min<std::size_t>(1000, count - at)));
      }
      writer.finish();
      EXPECT_EQ(writer.num_samples(), static_cast<std::int64_t>(count));
      AudioReader reader(folder / one.name, rate(22050));
      EXPECT_EQ(reader.num_samples(), static_cast<std::int64_t>(count));
      const std::vector<float> back = read_all(reader);
      EXPECT_EQ(reader.warning(), "");
      ASSERT_EQ(back.size(), count);
      for (std::size_t i = 0; i < count; ++i) ASSERT_NEAR(back[i], samples[i], one.tolerance) << i;
    }
  }
}

TEST(AudioWriter, ClipsIntegers) {
  const test::TemporaryFolder folder;
  AudioWriter writer(folder / "loud.wav", AudioFileFormat::kWavInt16, 16000);
  writer.write(std::vector<float>{1.0F, 3.0F, -1.0F, -3.0F, 0.0F});
  writer.finish();
  AudioReader reader(folder / "loud.wav");
  EXPECT_THAT(read_all(reader), ::testing::ElementsAre(32767.0F / 32768, 32767.0F / 32768, -1.0F, -1.0F, 0.0F));
}

TEST(AudioWriter, LeavesNothingOfAnUnfinishedFileAndKeepsTheOlderOne) {
  const test::TemporaryFolder folder;
  write_file(folder / "a.wav", std::string_view("older"));
  for (const AudioFileFormat format : {AudioFileFormat::kWavInt16, AudioFileFormat::kFlacInt16}) {
    AudioWriter writer(folder / "a.wav", format, 16000);
    writer.write(tone(100000));
  }
  EXPECT_EQ(read_file(folder / "a.wav"), "older");
  EXPECT_EQ(num_files(folder.path()), 1);
}

TEST(AudioWriter, RefusesWhatCannotBeWritten) {
  const test::TemporaryFolder folder;
  EXPECT_THROW(AudioWriter(folder / "missing" / "a.wav", AudioFileFormat::kWavInt16, 16000), Error);
  EXPECT_THROW(AudioWriter(folder.path(), AudioFileFormat::kWavInt16, 16000), Error);
  for (const int hz : {0, -1, 768'001}) {
    EXPECT_THROW(AudioWriter(folder / "a.wav", AudioFileFormat::kWavInt16, hz), Error);
  }
  EXPECT_THROW(AudioWriter(folder / "a.flac", AudioFileFormat::kFlacInt16, 700'000), Error);
  {
    AudioWriter writer(folder / "a.wav", AudioFileFormat::kWavFloat32, 16000);
    writer.write(tone(5));
    EXPECT_THROW(writer.write(std::vector<float>{0.0F, std::numeric_limits<float>::quiet_NaN()}), Error);
    writer.finish();
    EXPECT_THROW(writer.write(tone(1)), Error);
  }
  EXPECT_EQ(audio_format_of("x.WAV"), AudioFileFormat::kWavInt16);
  EXPECT_EQ(audio_format_of("x.flac"), AudioFileFormat::kFlacInt16);
  EXPECT_EQ(audio_format_of("-"), AudioFileFormat::kWavInt16);
  EXPECT_THROW(audio_format_of("x.mp3"), Error);
}

/// Puts another descriptor in place of standard output for a while.
class StandardOutput {
 public:
  explicit StandardOutput(const std::filesystem::path& path) : saved_(::dup(STDOUT_FILENO)) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::dup2(file, STDOUT_FILENO);
    ::close(file);
  }
  ~StandardOutput() {
    ::dup2(saved_, STDOUT_FILENO);
    ::close(saved_);
  }

 private:
  int saved_;
};

TEST(AudioWriter, WritesToStandardOutput) {
  const test::TemporaryFolder folder;
  const std::vector<float> samples = tone(5001);
  for (const AudioFileFormat format : {AudioFileFormat::kWavInt16, AudioFileFormat::kFlacInt16}) {
    {
      const StandardOutput output(folder / "out");
      AudioWriter writer("-", format, 22050);
      writer.write(samples);
      writer.finish();
    }
    AudioReader reader(folder / "out", rate(22050));
    const std::vector<float> back = read_all(reader);
    EXPECT_EQ(reader.warning(), "");
    ASSERT_EQ(back.size(), samples.size());
    for (std::size_t i = 0; i < back.size(); ++i) ASSERT_NEAR(back[i], samples[i], 0.5F / 32768 + 1e-7F) << i;
  }
}

TEST(AudioWriter, SaysThatTheDiskIsFull) {
  // /dev/full refuses every byte.
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "there is no /dev/full here";
  std::string message;
  {
    const StandardOutput output("/dev/full");
    try {
      AudioWriter writer("-", AudioFileFormat::kWavInt16, 16000);
      writer.write(tone(100));
    } catch (const Error& error) {
      message = error.what();
    }
  }
  EXPECT_THAT(message, HasSubstr("No space left"));
}

}  // namespace
}  // namespace pajamas

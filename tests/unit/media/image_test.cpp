// Tests of pajamas/image.h: every variant of every format against Pillow, orientation, hostile bytes, writing.
#include "pajamas/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstring>
#include <map>

#include "base/files.h"
#include "media/codecs.h"
#include "media_goldens.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using test::largest_difference;
using test::media_data;
using ::testing::HasSubstr;

/// What may differ from Pillow, in levels: nothing, but where the conversion is a matter of taste.
int tolerance_of(const std::string& file) {
  static const std::map<std::string, int> kTolerances = {
      {"cmyk.jpg", 1},                             // Pillow rounds the product of ink and key otherwise
      {"rgb16.png", 0},                            // 257 × level is exact in both
      {"grey16.png", 1},  {"lossy.webp", 2},       // another version of libwebp
      {"rgb_420.jpg", 2}, {"progressive.jpg", 2},  // another version of libjpeg-turbo
      {"grey.jpg", 1},    {"rgb.jpg", 1},
  };
  if (file.starts_with("exif_") && file.ends_with(".jpg")) return 1;
  const auto found = kTolerances.find(file);
  return found == kTolerances.end() ? 0 : found->second;
}

TEST(ReadImage, AgreesWithPillowOnEveryFormatVariant) {
  const test::MediaGoldens goldens;
  ASSERT_GE(goldens.index().at("decoded").size(), 25U);
  for (const auto& entry : goldens.index().at("decoded")) {
    const std::string file = entry.at("file");
    const Image expected = goldens.image(entry);
    const Image image = read_image(media_data(file));
    EXPECT_EQ(image.width_px, expected.width_px) << file;
    EXPECT_EQ(image.height_px, expected.height_px) << file;
    EXPECT_LE(largest_difference(image, expected), tolerance_of(file)) << file;
  }
}

TEST(ReadImage, TurnsEveryExifOrientationUpright) {
  // Six cells numbered 0..5 in two rows of three; where each number must end, from the EXIF specification's wording of
  // what row 0 and column 0 of the stored picture are.
  const Image stored{3, 2, {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5}};
  const std::map<int, std::vector<int>> upright = {
      {1, {0, 1, 2, 3, 4, 5}}, {2, {2, 1, 0, 5, 4, 3}}, {3, {5, 4, 3, 2, 1, 0}}, {4, {3, 4, 5, 0, 1, 2}},
      {5, {0, 3, 1, 4, 2, 5}}, {6, {3, 0, 4, 1, 5, 2}}, {7, {5, 2, 4, 1, 3, 0}}, {8, {2, 5, 1, 4, 0, 3}}};
  for (const auto& [orientation, cells] : upright) {
    const Image image = oriented(stored, orientation);
    EXPECT_EQ(image.width_px, orientation >= 5 ? 2 : 3);
    for (std::size_t i = 0; i < cells.size(); ++i) {
      EXPECT_EQ(image.pixels[3 * i + 1], cells[i]) << "orientation " << orientation << ", cell " << i;
    }
  }
}

std::string message_of(const std::filesystem::path& path) {
  try {
    read_image(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
  return "no error";
}

TEST(ReadImage, NamesTheFileAndTheReason) {
  EXPECT_THAT(message_of("/no/such/picture.jpg"), HasSubstr("/no/such/picture.jpg"));
  const auto path = std::filesystem::temp_directory_path() / ("pajamas_image_" + std::to_string(getpid()));
  write_file(path, std::string_view(""));
  EXPECT_THAT(message_of(path), HasSubstr("empty"));
  write_file(path, std::string_view("%PDF-1.7 this is not a picture"));
  EXPECT_THAT(message_of(path), HasSubstr("JPEG, PNG, WebP or BMP"));
  EXPECT_THAT(message_of(path), HasSubstr(path.string()));
  std::filesystem::remove(path);
}

std::vector<std::string> picture_files() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(media_data())) {
    if (!entry.path().filename().string().starts_with("goldens")) files.push_back(entry.path().filename().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

TEST(DecodeImage, RefusesEveryTruncation) {
  for (const std::string& file : picture_files()) {
    const std::string content = read_file(media_data(file));
    for (std::size_t size = 0; size < content.size(); size += 1 + content.size() / 97) {
      try {
        decode_image(std::as_bytes(std::span(content.data(), size)), 1 << 20);
        // A tail without pixel data (padding, trailing chunks of metadata) may be missing.
        EXPECT_GT(size, content.size() * 3 / 4) << file << " cut to " << size << " of " << content.size();
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << file << " cut to " << size;
      }
    }
  }
}

TEST(DecodeImage, SurvivesFlippedBits) {
  std::uint32_t state = 12345;
  const auto next = [&] { return state = state * 1664525U + 1013904223U; };
  int num_refused = 0;
  for (const std::string& file : picture_files()) {
    for (int round = 0; round < 60; ++round) {
      std::string content = read_file(media_data(file));
      for (int flips = 0; flips < 1 + round / 20; ++flips) {
        content[(next() >> 8) % content.size()] ^= static_cast<char>(1U << (next() >> 29));
      }
      try {
        const Image image = decode_image(std::as_bytes(std::span(content)), 1 << 20);
        EXPECT_EQ(image.pixels.size(),
                  static_cast<std::size_t>(image.width_px) * static_cast<std::size_t>(image.height_px) * 3);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << file << ": " << error.what();
        ++num_refused;
      }
    }
  }
  EXPECT_GT(num_refused, 100);  // so that the loop is known to reach the decoders' errors
}

TEST(DecodeImage, RefusesAHugeSizeBeforeTakingMemory) {
  // The headers of valid files with their sizes raised to 60,000 × 60,000.
  std::string png = read_file(media_data("rgb.png"));
  const auto put = [](std::string& text, std::size_t at, std::initializer_list<int> bytes) {
    for (const int byte : bytes) text[at++] = static_cast<char>(byte);
  };
  put(png, 16, {0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60});
  std::string bmp = read_file(media_data("rgb.bmp"));
  put(bmp, 18, {0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0});
  std::string jpeg = read_file(media_data("rgb.jpg"));
  const std::size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  put(jpeg, frame + 5, {0xea, 0x60, 0xea, 0x60});
  rusage before{};
  getrusage(RUSAGE_SELF, &before);
  for (const std::string* content : {&png, &bmp, &jpeg}) {
    EXPECT_THROW(decode_image(std::as_bytes(std::span(*content))), Error);
  }
  try {
    decode_image(std::as_bytes(std::span(jpeg)));
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("60000 x 60000"));
    EXPECT_THAT(error.what(), HasSubstr("400000000"));
  }
  rusage after{};
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 100 * 1024);  // kilobytes; 60,000² pixels would be 10 GB
}

TEST(WriteImage, LosslessFormatsComeBackAsTheyWere) {
  const auto folder = std::filesystem::temp_directory_path() / ("pajamas_write_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  for (const auto& [width, height] : {std::pair{1, 1}, std::pair{31, 7}, std::pair{2, 200}}) {
    const Image image = test::noise_image(width, height, 7);
    for (const char* name : {"a.png", "a.webp", "a.bmp", "a.PNG"}) {
      write_image(image, folder / name);
      EXPECT_EQ(largest_difference(read_image(folder / name), image), 0) << name << " " << width << " x " << height;
    }
    write_image(image, folder / "a.jpg", 100);
    EXPECT_LE(largest_difference(read_image(folder / "a.jpg"), image), 6);
  }
  EXPECT_THROW(write_image(test::noise_image(2, 2, 1), folder / "a.tiff"), Error);
  EXPECT_THROW(write_image(test::noise_image(2, 2, 1), folder / "a.jpg", 0), Error);
  EXPECT_THROW(write_image(Image{}, folder / "a.png"), Error);
  EXPECT_THROW(write_image(Image{3, 3, {1, 2}}, folder / "a.png"), Error);
  EXPECT_THROW(write_image(test::noise_image(2, 2, 1), folder / "missing" / "a.png"), Error);
  EXPECT_THROW(write_image(test::noise_image(70000, 1, 1), folder / "long.jpg"), Error);
  EXPECT_FALSE(std::filesystem::exists(folder / "long.jpg"));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace pajamas

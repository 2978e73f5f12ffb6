// Tests of media/jpeg_header.h: what is a plain JPEG, its size and orientation, and hostile bytes.
#include "media/jpeg_header.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "base/files.h"
#include "media/codecs.h"
#include "media_goldens.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using test::media_data;

std::vector<std::byte> bytes_of(const std::string& file) {
  const std::string text = read_file(media_data(file));
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> encoded(int width, int height, int quality) {
  Image image{width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(width) * height * 3)};
  std::mt19937 random(3);
  for (std::uint8_t& level : image.pixels) level = static_cast<std::uint8_t>(random());
  return encode_jpeg(image, quality);
}

TEST(JpegHeader, KnowsSizeAndOrientation) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const std::vector<std::byte> bytes = bytes_of("exif_" + std::to_string(orientation) + ".jpg");
    const auto header = read_jpeg_header(bytes);
    const DecodedImage decoded = decode_jpeg(bytes, kMaxImagePixels);
    ASSERT_TRUE(header) << orientation;
    EXPECT_EQ(header->exif_orientation, orientation);
    EXPECT_EQ(header->width_px, decoded.image.width_px);
    EXPECT_EQ(header->height_px, decoded.image.height_px);
    EXPECT_TRUE(header->is_plain);
  }
  const auto header = read_jpeg_header(encoded(17, 1000, 95));
  ASSERT_TRUE(header);
  EXPECT_EQ(header->width_px, 17);
  EXPECT_EQ(header->height_px, 1000);
  EXPECT_EQ(header->exif_orientation, 1);
}

TEST(JpegHeader, TellsPlainFilesFromOthers) {
  for (const char* file : {"rgb.jpg", "rgb_420.jpg"}) EXPECT_TRUE(read_jpeg_header(bytes_of(file))->is_plain) << file;
  for (const int quality : {50, 95}) EXPECT_TRUE(read_jpeg_header(encoded(33, 9, quality))->is_plain) << quality;
  for (const char* file : {"progressive.jpg", "grey.jpg", "cmyk.jpg"}) {
    const auto header = read_jpeg_header(bytes_of(file));
    ASSERT_TRUE(header) << file;
    EXPECT_FALSE(header->is_plain) << file;
  }
  for (const char* file : {"rgb.png", "rgb.bmp", "lossy.webp"}) EXPECT_FALSE(read_jpeg_header(bytes_of(file))) << file;
  EXPECT_FALSE(read_jpeg_header({}));
}

/// Everything behind the header of the only scan.
std::size_t begin_of_data(const std::vector<std::byte>& bytes) {
  for (std::size_t i = 0; i + 3 < bytes.size(); ++i) {
    if (bytes[i] == std::byte{0xFF} && bytes[i + 1] == std::byte{0xDA}) {
      return i + 2 + (std::to_integer<std::size_t>(bytes[i + 2]) << 8 | std::to_integer<std::size_t>(bytes[i + 3]));
    }
  }
  return 0;
}

TEST(JpegHeader, TakesNoFileForPlainWhoseDataAreNotWhole) {
  const std::vector<std::byte> whole = encoded(64, 48, 90);
  const std::size_t data = begin_of_data(whole);
  ASSERT_GT(data, 100U);
  for (std::size_t size = data; size < whole.size(); size += 97) {
    const auto header = read_jpeg_header(std::span(whole).first(size));
    ASSERT_TRUE(header) << size;
    EXPECT_FALSE(header->is_plain) << size;
  }
  for (std::size_t size = 0; size < data; ++size) EXPECT_FALSE(read_jpeg_header(std::span(whole).first(size))) << size;
  const auto with_marker = [&](unsigned code) {
    std::vector<std::byte> changed = whole;
    changed.insert(changed.begin() + static_cast<std::ptrdiff_t>(data) + 20, {std::byte{0xFF}, std::byte(code)});
    return read_jpeg_header(changed)->is_plain;
  };
  EXPECT_TRUE(with_marker(0x00));   // A byte of data.
  EXPECT_FALSE(with_marker(0xD0));  // A restart where there are none.
  EXPECT_FALSE(with_marker(0xDA));  // Another scan.
  EXPECT_FALSE(with_marker(0xC4));
  std::vector<std::byte> trailed = whole;
  trailed.insert(trailed.end(), 100, std::byte{0xFF});
  EXPECT_TRUE(read_jpeg_header(trailed)->is_plain);  // What stands behind the end does not count.
}

TEST(JpegHeader, ReadsRestartsInOrderOnly) {
  std::vector<std::byte> bytes = encoded(64, 48, 90);
  // An interval of restarts before the scan, then restarts anywhere: only the order is looked at.
  const std::size_t data = begin_of_data(bytes);
  const auto insert = [](std::vector<std::byte>& into, std::size_t at, std::initializer_list<unsigned> codes) {
    std::vector<std::byte> values;
    for (const unsigned code : codes) values.push_back(std::byte(code));
    into.insert(into.begin() + static_cast<std::ptrdiff_t>(at), values.begin(), values.end());
  };
  insert(bytes, data + 40, {0xFF, 0xD1});
  insert(bytes, data + 20, {0xFF, 0xD0});
  EXPECT_FALSE(read_jpeg_header(bytes)->is_plain);
  insert(bytes, 2, {0xFF, 0xDD, 0, 4, 0, 4});
  EXPECT_TRUE(read_jpeg_header(bytes)->is_plain);
  insert(bytes, data + 6 + 10, {0xFF, 0xD1});
  EXPECT_FALSE(read_jpeg_header(bytes)->is_plain);
}

TEST(JpegHeader, HonoursAdobesWordOnColours) {
  const std::vector<std::byte> whole = encoded(64, 48, 90);
  const auto with_transform = [&](unsigned transform) {
    std::vector<std::byte> changed = whole;
    const std::string text = std::string("\xFF\xEE\0\x0E", 4) + "Adobe" + std::string("\0\x64\0\0\0\0", 6);
    std::vector<std::byte> segment;
    for (const char c : text) segment.push_back(std::byte(static_cast<unsigned char>(c)));
    segment.push_back(std::byte(transform));
    changed.insert(changed.begin() + 2, segment.begin(), segment.end());
    return read_jpeg_header(changed)->is_plain;
  };
  EXPECT_TRUE(with_transform(1));
  EXPECT_FALSE(with_transform(0));  // Stored as RGB.
  EXPECT_FALSE(with_transform(2));
}

TEST(JpegHeader, SurvivesAnyByteChanged) {
  std::mt19937 random(11);
  for (const char* file : {"exif_6.jpg", "progressive.jpg", "rgb_420.jpg"}) {
    const std::vector<std::byte> whole = bytes_of(file);
    for (int round = 0; round < 2000; ++round) {
      std::vector<std::byte> changed = whole;
      for (int i = 0; i < 3; ++i) changed[random() % changed.size()] = std::byte(random() & 0xFFU);
      changed.resize(random() % (changed.size() + 1));
      if (const auto header = read_jpeg_header(changed)) {
        EXPECT_GT(header->width_px, 0);
        EXPECT_GT(header->height_px, 0);
        EXPECT_TRUE(header->exif_orientation >= 1 && header->exif_orientation <= 8);
      }
    }
  }
}

}  // namespace
}  // namespace pajamas

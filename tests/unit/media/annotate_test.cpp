// Tests of annotate(): it draws where it should, nowhere else, and survives odd boxes, labels and sizes.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "media_goldens.h"
#include "pajamas/detection.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

Image grey_image(int width_px, int height_px) {
  return {width_px, height_px,
          std::vector<std::uint8_t>(static_cast<std::size_t>(width_px) * static_cast<std::size_t>(height_px) * 3, 128)};
}

bool is_changed(const Image& image, int x, int y) {
  const auto at = static_cast<std::size_t>(3 * (y * image.width_px + x));
  return image.pixels[at] != 128 || image.pixels[at + 1] != 128 || image.pixels[at + 2] != 128;
}

TEST(Annotate, DrawsTheFrameAndALabelAboveIt) {
  const Image image = grey_image(640, 480);
  const std::vector<Detection> detections{{{100, 200, 300, 400}, 0, "person", 0.87F}};
  const Image drawn = annotate(image, detections);
  EXPECT_EQ(drawn.width_px, 640);
  for (int x = 100; x < 300; ++x) {
    EXPECT_TRUE(is_changed(drawn, x, 200));
    EXPECT_TRUE(is_changed(drawn, x, 399));
  }
  EXPECT_FALSE(is_changed(drawn, 200, 300));  // inside
  EXPECT_FALSE(is_changed(drawn, 50, 300));   // outside
  EXPECT_TRUE(is_changed(drawn, 105, 195));   // the label
  EXPECT_EQ(image.pixels, grey_image(640, 480).pixels);
}

TEST(Annotate, PutsTheLabelInsideWhereThereIsNoRoomAbove) {
  const std::vector<Detection> detections{{{630, 0, 640, 100}, 5, "a long label", 0.5F}};
  const Image drawn = annotate(grey_image(640, 480), detections);
  EXPECT_TRUE(is_changed(drawn, 600, 5));  // moved left to stay in the picture
}

TEST(Annotate, SurvivesOddBoxesLabelsAndSizes) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<Detection> detections{{{nan, nan, nan, nan}, -3, "", nan},
                                          {{-infinity, -5, infinity, 1e30F}, 2147483647, "\xff\xc3 caf\xc3\xa9", 2.0F},
                                          {{5, 5, 2, 2}, 7, std::string(500, 'W'), 0.1F},
                                          {{0, 0, 0, 0}, 1, "\xe7\x8c\xab", 0.3F}};
  for (const auto& [width, height] : {std::pair{1, 1}, std::pair{10000, 1}, std::pair{3, 500}, std::pair{200, 100}}) {
    const Image drawn = annotate(grey_image(width, height), detections);
    EXPECT_EQ(drawn.pixels.size(), static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
  }
  EXPECT_THROW(annotate(Image{}, detections), Error);
}

}  // namespace
}  // namespace pajamas

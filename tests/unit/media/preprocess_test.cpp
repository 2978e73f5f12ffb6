// Tests of media/resample.h, placement.h and preprocess.h: against Pillow and OpenCV, against formulas, and at the
// edges.
#include "media/preprocess.h"

#include <gtest/gtest.h>

#include <cmath>

#include "media_goldens.h"
#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

using test::largest_difference;
using test::noise_image;

TEST(Resample, AgreesWithPillowAndOpenCv) {
  const test::MediaGoldens goldens;
  ASSERT_GE(goldens.index().at("resized").size(), 40U);
  for (const auto& entry : goldens.index().at("resized")) {
    const std::string method = entry.at("method");
    const Image source = goldens.image(entry.at("source"));
    const Image expected = goldens.image(entry.at("result"));
    const Interpolation interpolation = method == "pil_nearest"        ? Interpolation::kNearest
                                        : method.ends_with("bilinear") ? Interpolation::kBilinear
                                                                       : Interpolation::kBicubic;
    const Image result =
        resample(source, expected.width_px, expected.height_px, {0, 0, expected.width_px, expected.height_px},
                 interpolation, method.starts_with("pil"));
    // Pillow to the bit; OpenCV rounds its intermediate otherwise.
    EXPECT_LE(largest_difference(result, expected), method.starts_with("pil") ? 0 : 1)
        << method << " " << source.width_px << " x " << source.height_px << " to " << expected.width_px << " x "
        << expected.height_px;
  }
}

TEST(Resample, AWindowIsACutFromTheWhole) {
  const Image source = noise_image(61, 40, 3);
  for (const bool is_antialiased : {false, true}) {
    for (const Interpolation interpolation :
         {Interpolation::kNearest, Interpolation::kBilinear, Interpolation::kBicubic}) {
      for (const auto& [width, height] : {std::pair{30, 20}, std::pair{100, 77}, std::pair{61, 40}}) {
        const Image whole = resample(source, width, height, {0, 0, width, height}, interpolation, is_antialiased);
        const Window window{7, 5, 13, 11};
        const Image part = resample(source, width, height, window, interpolation, is_antialiased);
        for (int y = 0; y < window.height_px; ++y) {
          for (int x = 0; x < window.width_px * 3; ++x) {
            const auto in_part = static_cast<std::size_t>(y * window.width_px * 3 + x);
            const auto in_whole = static_cast<std::size_t>((y + window.y_px) * width * 3 + window.x_px * 3 + x);
            ASSERT_EQ(part.pixels[in_part], whole.pixels[in_whole]) << width << " at " << x << ", " << y;
          }
        }
      }
    }
  }
}

TEST(Resample, TwoToOneIsTheMeanOfFour) {
  const Image source = noise_image(64, 2, 9);
  const Image result = resample(source, 32, 1, {0, 0, 32, 1}, Interpolation::kBilinear, false);
  for (std::size_t x = 0; x < 32; ++x) {
    for (std::size_t c = 0; c < 3; ++c) {
      const std::size_t at = 6 * x + c;
      const int sum = source.pixels[at] + source.pixels[at + 3] + source.pixels[at + 192] + source.pixels[at + 195];
      EXPECT_EQ(result.pixels[3 * x + c], (sum + 2) / 4);
    }
  }
}

TEST(Placement, LetterboxFollowsUltralytics) {
  // 1280 × 720 into 640 × 640: 640 × 360, 140 above and below.
  EXPECT_EQ(letterbox(1280, 720, 640, 640), (Placement{1280, 720, 640, 360, 0, 140, 640, 640}));
  // An odd padding of 187: 93 on the left, 94 on the right (Ultralytics: round(93.5 − 0.1)).
  EXPECT_EQ(letterbox(810, 1080, 640, 640), (Placement{810, 1080, 480, 640, 80, 0, 640, 640}));
  EXPECT_EQ(letterbox(453, 640, 640, 640).offset_x_px, 93);
  EXPECT_EQ(letterbox(10000, 1, 640, 640), (Placement{10000, 1, 640, 1, 0, 319, 640, 640}));
  EXPECT_EQ(letterbox(1, 1, 640, 640), (Placement{1, 1, 640, 640, 0, 0, 640, 640}));
}

TEST(Placement, OtherWaysToFit) {
  EXPECT_EQ(letterbox_top_left(1280, 720, 416, 416), (Placement{1280, 720, 416, 234, 0, 0, 416, 416}));
  EXPECT_EQ(letterbox_top_left(427, 640, 640, 640), (Placement{427, 640, 427, 640, 0, 0, 640, 640}));
  EXPECT_EQ(shortest_edge_crop(500, 375, 256, 224, 224), (Placement{500, 375, 341, 256, -58, -16, 224, 224}));
  EXPECT_EQ(shortest_edge_crop(375, 500, 256, 224, 224), (Placement{375, 500, 256, 341, -16, -58, 224, 224}));
  EXPECT_EQ(shortest_edge_crop(10, 10, 10, 16, 16), (Placement{10, 10, 10, 10, 3, 3, 16, 16}));
  // torchvision: 800 / 480 = 1.67 would make 1066 of 640; both within limits.
  EXPECT_EQ(fit(640, 480, 800, 1333), (Placement{640, 480, 1066, 800, 0, 0, 1066, 800}));
  // The longer edge decides: 1333 / 10000.
  EXPECT_EQ(fit(10000, 100, 800, 1333), (Placement{10000, 100, 1333, 13, 0, 0, 1333, 13}));
  EXPECT_THROW(letterbox(0, 5, 640, 640), Error);
  EXPECT_THROW(stretch(5, 5, 0, 640), Error);
  EXPECT_THROW(shortest_edge_crop(100'000'000, 1, 224, 224, 224), Error);
}

TEST(Placement, BoxesGoBackToTheSourceAndAreClipped) {
  const Placement placement = letterbox(1280, 720, 640, 640);
  const BoxXyxyPx box = placement.to_source({10, 150, 630, 490});
  EXPECT_FLOAT_EQ(box.x1, 20);
  EXPECT_FLOAT_EQ(box.y1, 20);
  EXPECT_FLOAT_EQ(box.x2, 1260);
  EXPECT_FLOAT_EQ(box.y2, 700);
  const BoxXyxyPx outside = placement.to_source({-50, 0, 10000, 640});
  EXPECT_EQ(outside.x1, 0);
  EXPECT_EQ(outside.y1, 0);
  EXPECT_EQ(outside.x2, 1280);
  EXPECT_EQ(outside.y2, 720);
  const BoxXyxyPx cropped = shortest_edge_crop(500, 375, 256, 224, 224).to_source({0, 0, 224, 224});
  EXPECT_NEAR(cropped.x1, 58 * 500.0 / 341, 1e-3);
  EXPECT_NEAR(cropped.y2, (224 + 16) * 375.0 / 256, 1e-3);
}

float reference(const Image& image, int x, int y, int channel, double mean, double std) {
  const auto at = static_cast<std::size_t>((y * image.width_px + x) * 3 + channel);
  return static_cast<float>((image.pixels[at] / 255.0 - mean) / std);
}

TEST(Preprocessor, WritesEveryLayoutOrderAndType) {
  const Image image = noise_image(5, 3, 21);
  const Placement placement{5, 3, 5, 3, 1, 2, 7, 6};  // padding on every side
  for (const bool is_nhwc : {false, true}) {
    for (const bool is_bgr : {false, true}) {
      PreprocessOptions options;
      options.is_nhwc = is_nhwc;
      options.is_bgr = is_bgr;
      options.mean = {0.485, 0.456, 0.406};
      options.std = {0.229, 0.224, 0.225};
      options.pad_value = 114;
      std::vector<float> single(7 * 6 * 3);
      Preprocessor(options).write(image, placement, std::as_writable_bytes(std::span(single)));
      options.dtype = DType::kFloat16;
      std::vector<std::uint16_t> half(7 * 6 * 3);
      Preprocessor(options).write(image, placement, std::as_writable_bytes(std::span(half)));
      for (int c = 0; c < 3; ++c) {
        for (int y = 0; y < 6; ++y) {
          for (int x = 0; x < 7; ++x) {
            const auto at = static_cast<std::size_t>(is_nhwc ? (y * 7 + x) * 3 + c : (c * 6 + y) * 7 + x);
            const auto channel = static_cast<std::size_t>(c);
            const bool is_inside = x >= 1 && x < 6 && y >= 2 && y < 5;
            const float expected =
                is_inside
                    ? reference(image, x - 1, y - 2, is_bgr ? 2 - c : c, options.mean[channel], options.std[channel])
                    : static_cast<float>((114 / 255.0 - options.mean[channel]) / options.std[channel]);
            ASSERT_EQ(single[at], expected) << c << " " << y << " " << x;
            ASSERT_EQ(half[at], float16_from_float(expected));
          }
        }
      }
    }
  }
}

TEST(Preprocessor, GivesPlainLevelsToByteInputs) {
  const Image image = noise_image(4, 4, 2);
  PreprocessOptions options;
  options.dtype = DType::kUint8;
  options.is_nhwc = true;
  options.std = {1 / 255.0, 1 / 255.0, 1 / 255.0};
  std::vector<std::uint8_t> out(48);
  Preprocessor(options).write(image, stretch(4, 4, 4, 4), std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(out, image.pixels);
}

TEST(Preprocessor, ScalesAndCropsAsResampleDoes) {
  const Image image = noise_image(50, 37, 8);
  PreprocessOptions options;
  options.dtype = DType::kUint8;
  options.is_nhwc = true;
  options.is_antialiased = true;
  options.interpolation = Interpolation::kBicubic;
  options.std = {1 / 255.0, 1 / 255.0, 1 / 255.0};
  const Placement placement = shortest_edge_crop(50, 37, 20, 16, 16);
  Image cropped{16, 16, std::vector<std::uint8_t>(16 * 16 * 3)};
  Preprocessor(options).write(image, placement, std::as_writable_bytes(std::span(cropped.pixels)));
  const Image expected = resample(image, 27, 20, {6, 2, 16, 16}, Interpolation::kBicubic, true);
  EXPECT_EQ(placement.offset_x_px, -6);
  EXPECT_EQ(largest_difference(cropped, expected), 0);
}

TEST(Preprocessor, HandlesTheThinnestPictures) {
  PreprocessOptions options;
  std::vector<float> out(64 * 64 * 3);
  for (const auto& [width, height] : {std::pair{1, 1}, std::pair{10000, 1}, std::pair{1, 10000}, std::pair{2, 3}}) {
    const Image image = noise_image(width, height, 5);
    for (const Placement& placement :
         {letterbox(width, height, 64, 64), stretch(width, height, 64, 64), letterbox_top_left(width, height, 64, 64),
          shortest_edge_crop(width, height, 70, 64, 64)}) {
      std::fill(out.begin(), out.end(), NAN);
      Preprocessor(options).write(image, placement, std::as_writable_bytes(std::span(out)));
      for (const float value : out) ASSERT_TRUE(value >= 0 && value <= 1);
    }
  }
}

TEST(Preprocessor, RefusesWhatDoesNotBelongTogether) {
  PreprocessOptions options;
  const Preprocessor preprocessor(options);
  std::vector<float> out(64 * 64 * 3);
  const auto bytes = std::as_writable_bytes(std::span(out));
  EXPECT_THROW(preprocessor.write(Image{}, stretch(1, 1, 64, 64), bytes), Error);
  EXPECT_THROW(preprocessor.write(Image{2, 2, {1}}, stretch(2, 2, 64, 64), bytes), Error);
  EXPECT_THROW(preprocessor.write(noise_image(3, 3, 1), stretch(2, 2, 64, 64), bytes), Error);
  EXPECT_THROW(preprocessor.write(noise_image(2, 2, 1), stretch(2, 2, 63, 64), bytes), Error);
  options.std[1] = 0;
  EXPECT_THROW(Preprocessor{options}, Error);
  options.std[1] = 1;
  options.dtype = DType::kInt64;
  EXPECT_THROW(Preprocessor{options}, Error);
}

}  // namespace
}  // namespace pajamas

// annotate() of pajamas/detection.h: boxes with labels and scores drawn onto a copy of a picture. Letters come from
// the font built into the program, through FreeType.
#include <ft2build.h>
#include FT_FREETYPE_H

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pajamas/detection.h"
#include "pajamas/error.h"

// Laid into the program by dependencies.cmake: symbols of assembly, which are named as symbols of C are.
// NOLINTBEGIN(readability-identifier-naming)
extern "C" const unsigned char pajamas_font_begin[];
extern "C" const unsigned char pajamas_font_end[];
// NOLINTEND(readability-identifier-naming)

namespace pajamas {

namespace {

struct Color {
  std::uint8_t red, green, blue;
};

/// Neighbouring classes get hues a golden angle apart, so that few classes or many, no two close ones look alike.
Color color_of_class(int class_index) {
  const double hue = std::fmod(0.58 + 0.61803398875 * (class_index < 0 ? 0 : class_index), 1.0) * 6.0;
  // Full strength, with the darker hues (blue, violet) a little lighter so that lines show on dark pictures.
  const double floor = hue > 3.7 && hue < 5.2 ? 0.30 : 0.12;
  const auto level = [&](double shift) {
    const double distance = std::abs(std::fmod(hue + shift, 6.0) - 3.0) - 1.0;
    return static_cast<std::uint8_t>(std::lrint(255.0 * (floor + (0.95 - floor) * std::clamp(distance, 0.0, 1.0))));
  };
  return {level(0.0), level(4.0), level(2.0)};
}

/// Black or white, whichever is easier to read on `ground` (ITU-R BT.601 luma).
Color text_color_on(Color ground) {
  const double luma = 0.299 * ground.red + 0.587 * ground.green + 0.114 * ground.blue;
  return luma > 140 ? Color{16, 16, 16} : Color{255, 255, 255};
}

void blend(Image& image, int x, int y, Color color, int alpha) {
  if (x < 0 || y < 0 || x >= image.width_px || y >= image.height_px) return;
  std::uint8_t* pixel =
      image.pixels.data() +
      3 * (static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width_px) + static_cast<std::size_t>(x));
  const std::array<int, 3> levels{color.red, color.green, color.blue};
  for (std::size_t c = 0; c < 3; ++c) {
    pixel[c] = static_cast<std::uint8_t>((pixel[c] * (255 - alpha) + levels[c] * alpha + 127) / 255);
  }
}

/// Fills [left, right) × [top, bottom), clipped to the picture.
void fill(Image& image, int left, int top, int right, int bottom, Color color, int alpha = 255) {
  for (int y = std::max(top, 0); y < std::min(bottom, image.height_px); ++y) {
    for (int x = std::max(left, 0); x < std::min(right, image.width_px); ++x) blend(image, x, y, color, alpha);
  }
}

/// The code points of UTF-8 text; a byte that is none becomes U+FFFD.
std::vector<char32_t> code_points(std::string_view text) {
  std::vector<char32_t> points;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
    char32_t point = length == 1 ? lead : lead & (0xffU >> (length + 1));
    bool is_valid = length != 0 && i + length <= text.size();
    for (std::size_t k = 1; is_valid && k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      is_valid = next >> 6 == 2;
      point = (point << 6) | (next & 0x3fU);
    }
    points.push_back(is_valid ? point : U'\xfffd');
    i += is_valid ? length : 1;
  }
  return points;
}

/// The built-in font at one size. Not thread-safe; made anew for each picture.
class Font {
 public:
  explicit Font(int height_px) {
    FT_Library library = nullptr;
    if (FT_Init_FreeType(&library) != 0) throw Error(ErrorKind::kInternal, "FreeType cannot be started");
    library_.reset(library);
    FT_Face face = nullptr;
    if (FT_New_Memory_Face(library, pajamas_font_begin, pajamas_font_end - pajamas_font_begin, 0, &face) != 0) {
      throw Error(ErrorKind::kInternal, "the built-in font cannot be opened");
    }
    face_.reset(face);
    if (FT_Set_Pixel_Sizes(face, 0, static_cast<FT_UInt>(height_px)) != 0) {
      throw Error(ErrorKind::kInternal, "the built-in font cannot be scaled");
    }
  }

  int ascent_px() const { return static_cast<int>(face_->size->metrics.ascender >> 6); }
  int descent_px() const { return static_cast<int>(-face_->size->metrics.descender >> 6); }

  int width_px(std::string_view text) {
    FT_Pos width = 0;
    for (const char32_t point : code_points(text)) {
      if (FT_Load_Char(face_.get(), point, FT_LOAD_DEFAULT) == 0) width += face_->glyph->advance.x;
    }
    return static_cast<int>(width >> 6);
  }

  /// `x`, `baseline`: where the first letter starts.
  void draw(Image& image, int x, int baseline, std::string_view text, Color color) {
    for (const char32_t point : code_points(text)) {
      if (FT_Load_Char(face_.get(), point, FT_LOAD_RENDER) != 0) continue;
      const FT_GlyphSlot glyph = face_->glyph;
      for (unsigned int row = 0; row < glyph->bitmap.rows; ++row) {
        const unsigned char* coverage = glyph->bitmap.buffer + static_cast<std::ptrdiff_t>(row) * glyph->bitmap.pitch;
        for (unsigned int column = 0; column < glyph->bitmap.width; ++column) {
          blend(image, x + glyph->bitmap_left + static_cast<int>(column),
                baseline - glyph->bitmap_top + static_cast<int>(row), color, coverage[column]);
        }
      }
      x += static_cast<int>(glyph->advance.x >> 6);
    }
  }

 private:
  struct LibraryDeleter {
    void operator()(FT_Library library) const { FT_Done_FreeType(library); }
  };
  struct FaceDeleter {
    void operator()(FT_Face face) const { FT_Done_Face(face); }
  };
  std::unique_ptr<FT_LibraryRec_, LibraryDeleter> library_;
  std::unique_ptr<FT_FaceRec_, FaceDeleter> face_;
};

/// A coordinate as a pixel, kept near the picture whatever the box holds (NaN, infinities).
int pixel_of(float value, int limit) {
  if (!(value > 0)) return 0;
  return value > static_cast<float>(limit) ? limit : static_cast<int>(std::lrint(value));
}

void draw_frame(Image& image, int left, int top, int right, int bottom, int thickness, Color color) {
  fill(image, left, top, right, std::min(top + thickness, bottom), color);
  fill(image, left, std::max(bottom - thickness, top), right, bottom, color);
  fill(image, left, top, std::min(left + thickness, right), bottom, color);
  fill(image, std::max(right - thickness, left), top, right, bottom, color);
}

}  // namespace

Image annotate(const Image& image, std::span<const Detection> detections) {
  const auto num_samples = static_cast<std::size_t>(std::max(image.width_px, 0)) *
                           static_cast<std::size_t>(std::max(image.height_px, 0)) * 3;
  if (image.is_empty() || image.pixels.size() != num_samples) {
    throw Error(ErrorKind::kUsage, "cannot draw on an empty picture");
  }
  Image drawn = image;
  if (detections.empty()) return drawn;
  // Line and letter sizes follow the picture, so that a thumbnail and a 20-megapixel photo look alike.
  const double side = (image.width_px + image.height_px) / 2.0;
  const int thickness = std::max(1, static_cast<int>(std::lrint(side * 0.0032)));
  Font font(std::clamp(static_cast<int>(std::lrint(side * 0.021)), 9, 400));
  const int margin = std::max(2, thickness);

  // The best last, so that its label lies on top.
  std::vector<const Detection*> order;
  for (const Detection& detection : detections) order.push_back(&detection);
  std::stable_sort(order.begin(), order.end(),
                   [](const Detection* a, const Detection* b) { return a->score < b->score; });
  for (const Detection* detection : order) {
    const Color color = color_of_class(detection->class_index);
    const int left = pixel_of(detection->box.x1, image.width_px);
    const int top = pixel_of(detection->box.y1, image.height_px);
    const int right = std::max(pixel_of(detection->box.x2, image.width_px), left + 1);
    const int bottom = std::max(pixel_of(detection->box.y2, image.height_px), top + 1);
    draw_frame(drawn, left, top, right, bottom, thickness, color);

    std::array<char, 16> score{};
    std::snprintf(score.data(), score.size(), " %.2f", static_cast<double>(detection->score));
    const std::string text =
        (detection->label.empty() ? std::to_string(detection->class_index) : detection->label) + score.data();
    const int label_width = font.width_px(text) + 2 * margin;
    const int label_height = font.ascent_px() + font.descent_px() + margin;
    // Above the box; inside where there is no room above; always within the picture sideways where it fits.
    const int label_left = std::max(0, std::min(left, image.width_px - label_width));
    const int label_top = top >= label_height ? top - label_height : top;
    fill(drawn, label_left, label_top, label_left + label_width, label_top + label_height, color);
    font.draw(drawn, label_left + margin, label_top + margin / 2 + font.ascent_px(), text, text_color_on(color));
  }
  return drawn;
}

}  // namespace pajamas

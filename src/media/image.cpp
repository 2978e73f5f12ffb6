// Reading and writing pictures: the format recognised by content, EXIF orientation, limits. The formats themselves are
// in the *_codec.cpp files.
#include "pajamas/image.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <new>
#include <string>
#include <string_view>

#include "base/files.h"
#include "kernels/picture_math.h"
#include "media/codecs.h"
#include "pajamas/error.h"

namespace pajamas {

namespace {

/// Files past this are not pictures that anybody wants decoded into memory.
constexpr std::uint64_t kMaxImageFileBytes = 2ULL << 30;

bool starts_with(std::span<const std::byte> bytes, std::string_view magic, std::size_t offset = 0) {
  return bytes.size() >= offset + magic.size() && std::memcmp(bytes.data() + offset, magic.data(), magic.size()) == 0;
}

DecodedImage decode_any(std::span<const std::byte> bytes, std::int64_t max_pixels) {
  if (starts_with(bytes, "\xff\xd8\xff")) return decode_jpeg(bytes, max_pixels);
  if (starts_with(bytes, "\x89PNG\r\n\x1a\n")) return decode_png(bytes, max_pixels);
  if (starts_with(bytes, "RIFF") && starts_with(bytes, "WEBP", 8)) return decode_webp(bytes, max_pixels);
  if (starts_with(bytes, "BM")) return decode_bmp(bytes, max_pixels);
  throw Error(ErrorKind::kBadInput, bytes.empty() ? "the picture is empty" : "not a picture of a known format", {},
              "give a JPEG, PNG, WebP or BMP file");
}

void require_writable(const Image& image) {
  const auto expected = static_cast<std::uint64_t>(std::max(image.width_px, 0)) *
                        static_cast<std::uint64_t>(std::max(image.height_px, 0)) * 3U;
  if (image.is_empty() || image.pixels.size() != expected) {
    throw Error(ErrorKind::kUsage, "cannot write a picture of " + std::to_string(image.width_px) + " x " +
                                       std::to_string(image.height_px) + " pixels with " +
                                       std::to_string(image.pixels.size()) + " samples");
  }
}

}  // namespace

Image make_image(const std::string& format, std::int64_t width_px, std::int64_t height_px, std::int64_t max_pixels) {
  const std::string size = std::to_string(width_px) + " x " + std::to_string(height_px) + " pixels";
  if (width_px <= 0 || height_px <= 0 || width_px > INT32_MAX || height_px > INT32_MAX) {
    throw Error(ErrorKind::kBadInput, format + " declares a size of " + size);
  }
  if (width_px > max_pixels / height_px) {
    throw Error(ErrorKind::kBadInput,
                format + " declares " + size + ", more than the limit of " + std::to_string(max_pixels) + " pixels", {},
                "scale the picture down first");
  }
  Image image;
  image.width_px = static_cast<int>(width_px);
  image.height_px = static_cast<int>(height_px);
  try {
    image.pixels.resize(static_cast<std::size_t>(width_px) * static_cast<std::size_t>(height_px) * 3U);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::kBadInput, "not enough memory for a picture of " + size, {}, "scale the picture down first");
  }
  return image;
}

Image oriented(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const std::int64_t width = image.width_px;
  const std::int64_t height = image.height_px;
  const bool is_transposed = orientation >= 5;
  Image turned;
  turned.width_px = is_transposed ? image.height_px : image.width_px;
  turned.height_px = is_transposed ? image.width_px : image.height_px;
  turned.pixels.resize(image.pixels.size());
  const kernels::PixelWalk walk = kernels::upright_walk(orientation, width, height, 3 * width);
  std::uint8_t* out = turned.pixels.data();
  for (std::int64_t y = 0; y < turned.height_px; ++y) {
    const std::uint8_t* in = image.pixels.data() + walk.start_bytes + y * walk.step_y_bytes;
    for (std::int64_t x = 0; x < turned.width_px; ++x, in += walk.step_x_bytes, out += 3) {
      out[0] = in[0];
      out[1] = in[1];
      out[2] = in[2];
    }
  }
  return turned;
}

Image decode_image(std::span<const std::byte> bytes, std::int64_t max_pixels) {
  DecodedImage decoded = decode_any(bytes, max_pixels);
  return oriented(std::move(decoded.image), decoded.exif_orientation);
}

Image decode_image(std::span<const std::byte> bytes) { return decode_image(bytes, kMaxImagePixels); }

Image read_image(const std::filesystem::path& path) {
  const std::string content = read_file(path, kMaxImageFileBytes);
  try {
    return decode_image(std::as_bytes(std::span(content)));
  } catch (const Error& error) {
    throw error.with_context(path.string());
  }
}

void write_image(const Image& image, const std::filesystem::path& path, int jpeg_quality) {
  if (jpeg_quality < 1 || jpeg_quality > 100) {
    throw Error(ErrorKind::kUsage, "JPEG quality " + std::to_string(jpeg_quality) + " is not within 1..100",
                path.string());
  }
  require_writable(image);
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::vector<std::byte> bytes;
  try {
    if (ending == ".jpg" || ending == ".jpeg") {
      bytes = encode_jpeg(image, jpeg_quality);
    } else if (ending == ".png") {
      bytes = encode_png(image);
    } else if (ending == ".webp") {
      bytes = encode_webp(image);
    } else if (ending == ".bmp") {
      bytes = encode_bmp(image);
    } else {
      throw Error(ErrorKind::kUsage, "no picture format has the ending '" + ending + "'", {},
                  "end the name in .jpg, .jpeg, .png, .webp or .bmp");
    }
  } catch (const Error& error) {
    throw error.with_context(path.string());
  }
  write_file(path, std::span<const std::byte>(bytes));
}

}  // namespace pajamas

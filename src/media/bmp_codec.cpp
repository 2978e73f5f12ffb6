// BMP through stb_image, restricted to that one format. stb_image reads zeros past the end of a file and trusts the
// header, so the header is checked here first.
#include <cstring>
#include <memory>

#include "media/codecs.h"
#include "pajamas/error.h"

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wconversion"
#endif
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#include <stb/stb_image.h>
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace pajamas {

namespace {

[[noreturn]] void throw_bad_bmp(const std::string& reason) {
  throw Error(ErrorKind::kBadInput, "the BMP picture is damaged: " + reason, {},
              "the file may be truncated: copy or export it again");
}

std::uint32_t little_endian(std::span<const std::byte> bytes, std::size_t offset, std::size_t count) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < count; ++i) value |= std::to_integer<std::uint32_t>(bytes[offset + i]) << (8 * i);
  return value;
}

struct Header {
  std::int64_t width_px;
  std::int64_t height_px;
};

/// Size of the picture, after making sure that all its rows are in the file.
Header parse_header(std::span<const std::byte> bytes) {
  constexpr std::size_t kFileHeaderBytes = 14;
  if (bytes.size() < kFileHeaderBytes + 12) throw_bad_bmp("the header is cut off");
  const std::uint32_t pixels_at = little_endian(bytes, 10, 4);
  const std::uint32_t header_size = little_endian(bytes, 14, 4);
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::int64_t bits = 0;
  if (header_size == 12) {  // OS/2: 16-bit sizes
    width = little_endian(bytes, 18, 2);
    height = little_endian(bytes, 20, 2);
    bits = little_endian(bytes, 24, 2);
  } else {
    if (header_size < 40 || bytes.size() < kFileHeaderBytes + 40) throw_bad_bmp("unknown header");
    width = static_cast<std::int32_t>(little_endian(bytes, 18, 4));
    height = static_cast<std::int32_t>(little_endian(bytes, 22, 4));
    height = height < 0 ? -height : height;  // negative: rows from top to bottom
    bits = little_endian(bytes, 28, 2);
    const std::uint32_t compression = little_endian(bytes, 30, 4);
    if (compression != 0 && compression != 3) {
      throw Error(ErrorKind::kBadInput, "the BMP picture is compressed, which is not supported", {},
                  "convert it to PNG");
    }
  }
  if (width <= 0 || height <= 0) throw_bad_bmp("its size is not positive");
  if (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32) {
    throw_bad_bmp(std::to_string(bits) + " bits a pixel");
  }
  const std::int64_t row_bytes = (width * bits + 31) / 32 * 4;
  const auto available = static_cast<std::int64_t>(bytes.size()) - static_cast<std::int64_t>(pixels_at);
  if (available < 0 || height > available / row_bytes) throw_bad_bmp("the file ends before the last row");
  return {width, height};
}

}  // namespace

DecodedImage decode_bmp(std::span<const std::byte> bytes, std::int64_t max_pixels) {
  if (bytes.size() > static_cast<std::size_t>(INT32_MAX)) throw_bad_bmp("the file is larger than 2 GiB");
  const Header header = parse_header(bytes);
  DecodedImage decoded;
  decoded.image = make_image("the BMP picture", header.width_px, header.height_px, max_pixels);
  int width = 0;
  int height = 0;
  int num_channels = 0;
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> pixels(
      stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()), static_cast<int>(bytes.size()), &width,
                            &height, &num_channels, 3),
      stbi_image_free);
  if (!pixels) throw_bad_bmp(stbi_failure_reason() != nullptr ? stbi_failure_reason() : "not decodable");
  if (width != header.width_px || height != header.height_px) throw_bad_bmp("its header gives two sizes");
  std::memcpy(decoded.image.pixels.data(), pixels.get(), decoded.image.pixels.size());
  return decoded;
}

std::vector<std::byte> encode_bmp(const Image& image) {
  std::vector<std::byte> bytes;
  const auto append = [](void* context, void* data, int size) {
    auto* out = static_cast<std::vector<std::byte>*>(context);
    const auto* begin = static_cast<const std::byte*>(data);
    out->insert(out->end(), begin, begin + size);
  };
  if (stbi_write_bmp_to_func(append, &bytes, image.width_px, image.height_px, 3, image.pixels.data()) == 0) {
    throw Error(ErrorKind::kInternal, "BMP encoding failed");
  }
  return bytes;
}

}  // namespace pajamas

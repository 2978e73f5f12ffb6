// PNG through libpng: every colour type, depth and interlacing becomes 8-bit RGB; alpha is dropped.
//
// libpng reports errors by longjmp, as libjpeg does: what runs under setjmp holds plain data only.
#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "media/codecs.h"
#include "pajamas/error.h"

namespace pajamas {

namespace {

struct Reader {
  const unsigned char* data;
  std::size_t size;
  std::size_t position;
  char message[256];
  png_structp png;
  png_infop info;
};

void on_read(png_structp png, png_bytep out, std::size_t count) {
  auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
  if (count > reader->size - reader->position) png_error(png, "the file ends too early");
  std::memcpy(out, reader->data + reader->position, count);
  reader->position += count;
}

void on_error(png_structp png, png_const_charp text) {
  auto* message = static_cast<char*>(png_get_error_ptr(png));
  std::snprintf(message, sizeof Reader::message, "%s", text);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

bool read_header(Reader& reader) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  // The limit on pixels is ours and comes after the header; this one only keeps libpng's row arithmetic in range.
  png_set_user_limits(reader.png, 0x7fffffff / 8, 0x7fffffff / 8);
  png_read_info(reader.png, reader.info);
  return true;
}

bool read_rows(Reader& reader, unsigned char* pixels, std::size_t width, std::size_t height) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  png_structp png = reader.png;
  const unsigned int color = png_get_color_type(png, reader.info);
  const unsigned int depth = png_get_bit_depth(png, reader.info);
  if (color == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  if (color == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
  if (depth == 16) png_set_scale_16(png);
  if ((color & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(png);
  png_set_strip_alpha(png);
  const int num_passes = png_set_interlace_handling(png);
  png_read_update_info(png, reader.info);
  if (png_get_rowbytes(png, reader.info) != 3 * width) png_error(png, "unexpected row size");
  for (int pass = 0; pass < num_passes; ++pass) {
    for (std::size_t y = 0; y < height; ++y) png_read_row(png, pixels + 3 * width * y, nullptr);
  }
  png_read_end(png, reader.info);
  return true;
}

struct ReaderGuard {
  Reader& reader;
  ~ReaderGuard() { png_destroy_read_struct(&reader.png, &reader.info, nullptr); }
};

}  // namespace

DecodedImage decode_png(std::span<const std::byte> bytes, std::int64_t max_pixels) {
  Reader reader{};
  reader.data = reinterpret_cast<const unsigned char*>(bytes.data());
  reader.size = bytes.size();
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, reader.message, on_error, on_warning);
  const ReaderGuard guard{reader};
  reader.info = reader.png != nullptr ? png_create_info_struct(reader.png) : nullptr;
  if (reader.info == nullptr) throw Error(ErrorKind::kInternal, "libpng cannot be started");
  png_set_read_fn(reader.png, &reader, on_read);
  const auto fail = [&] {
    throw Error(ErrorKind::kBadInput, std::string("the PNG picture is damaged: ") + reader.message, {},
                "the file may be truncated: copy or export it again");
  };
  if (!read_header(reader)) fail();
  DecodedImage decoded;
  decoded.image = make_image("the PNG picture", png_get_image_width(reader.png, reader.info),
                             png_get_image_height(reader.png, reader.info), max_pixels);
  if (!read_rows(reader, decoded.image.pixels.data(), static_cast<std::size_t>(decoded.image.width_px),
                 static_cast<std::size_t>(decoded.image.height_px))) {
    fail();
  }
  png_uint_32 exif_size = 0;
  png_bytep exif = nullptr;
  if (png_get_eXIf_1(reader.png, reader.info, &exif_size, &exif) != 0 && exif != nullptr) {
    decoded.exif_orientation = parse_exif_orientation({reinterpret_cast<const std::byte*>(exif), exif_size});
  }
  return decoded;
}

std::vector<std::byte> encode_png(const Image& image) {
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(image.width_px);
  header.height = static_cast<png_uint_32>(image.height_px);
  header.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = 0;
  std::vector<std::byte> bytes;
  const auto fail = [&] { throw Error(ErrorKind::kInternal, std::string("PNG encoding failed: ") + header.message); };
  if (png_image_write_to_memory(&header, nullptr, &size, 0, image.pixels.data(), 0, nullptr) == 0) fail();
  bytes.resize(size);
  if (png_image_write_to_memory(&header, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr) == 0) fail();
  bytes.resize(size);
  return bytes;
}

}  // namespace pajamas

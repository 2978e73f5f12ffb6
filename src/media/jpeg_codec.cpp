// JPEG through libjpeg-turbo, straight to RGB with its accurate integer transform: no scaling in the DCT, which would
// change the pixels that a model sees.
//
// libjpeg reports errors by longjmp. So everything between setjmp and the end of the call is in functions whose frames
// hold plain data only; C++ objects live in their callers.
#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

// jpeglib.h needs size_t and FILE before it, and jerror.h needs jpeglib.h.
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "media/codecs.h"
#include "pajamas/error.h"

namespace pajamas {

namespace {

/// A hostile progressive file can have thousands of scans of a large picture; real ones have about ten.
constexpr int kMaxScans = 200;

struct ErrorState {
  jpeg_error_mgr base;  // first, so that a pointer to it is a pointer to this
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* state = reinterpret_cast<ErrorState*>(info->err);
  (*info->err->format_message)(info, state->message);
  std::longjmp(state->escape, 1);
}

/// Warnings that mean missing or wrong picture data are errors here: libjpeg would fill the gap with grey.
void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_BOGUS_PROGRESSION: on_error(info);
    default: ++info->err->num_warnings;
  }
}

void on_progress(j_common_ptr info) {
  if (info->is_decompressor == 0) return;
  auto* state = reinterpret_cast<ErrorState*>(info->err);
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > kMaxScans) {
    std::snprintf(state->message, sizeof state->message, "more than %d progressive scans", kMaxScans);
    std::longjmp(state->escape, 1);
  }
}

jpeg_error_mgr* prepare(ErrorState& state) {
  jpeg_error_mgr* manager = jpeg_std_error(&state.base);
  state.base.error_exit = on_error;
  state.base.emit_message = on_message;
  state.base.output_message = [](j_common_ptr) {};
  state.message[0] = '\0';
  return manager;
}

struct Decoder {
  jpeg_decompress_struct info;
  jpeg_progress_mgr progress;
  ErrorState error;
};

/// The EXIF block among the saved markers, borrowed from the decoder; null when there is none.
const jpeg_marker_struct* find_exif(const jpeg_decompress_struct& info) {
  for (const jpeg_marker_struct* marker = info.marker_list; marker != nullptr; marker = marker->next) {
    if (marker->marker == JPEG_APP0 + 1 && marker->data_length >= 6 && std::memcmp(marker->data, "Exif\0", 6) == 0) {
      return marker;
    }
  }
  return nullptr;
}

/// Reads the header and chooses the output colours. False on error.
bool read_header(Decoder& decoder, const unsigned char* data, unsigned long size) {
  if (setjmp(decoder.error.escape) != 0) return false;
  jpeg_mem_src(&decoder.info, data, size);
  jpeg_save_markers(&decoder.info, JPEG_APP0 + 1, 0xffff);
  jpeg_read_header(&decoder.info, TRUE);
  const J_COLOR_SPACE stored = decoder.info.jpeg_color_space;
  decoder.info.out_color_space = stored == JCS_CMYK || stored == JCS_YCCK ? JCS_CMYK : JCS_RGB;
  decoder.info.dct_method = JDCT_ISLOW;
  return true;
}

/// Decodes all rows to RGB; through `cmyk_row` (4 bytes a pixel) where the picture is stored as inks. False on error.
bool read_rows(Decoder& decoder, unsigned char* pixels, unsigned char* cmyk_row) {
  if (setjmp(decoder.error.escape) != 0) return false;
  jpeg_decompress_struct& info = decoder.info;
  jpeg_start_decompress(&info);
  const std::size_t row_bytes = std::size_t{3} * info.output_width;
  while (info.output_scanline < info.output_height) {
    unsigned char* out = pixels + row_bytes * info.output_scanline;
    if (cmyk_row == nullptr) {
      JSAMPROW rows[8];
      const unsigned int wanted = info.output_height - info.output_scanline;
      const unsigned int num_rows = wanted < 8 ? wanted : 8;
      for (unsigned int i = 0; i < num_rows; ++i) rows[i] = out + row_bytes * i;
      jpeg_read_scanlines(&info, rows, num_rows);
    } else {
      JSAMPROW row = cmyk_row;
      jpeg_read_scanlines(&info, &row, 1);
      // Adobe stores ink inverted (255: no ink), others do not; light = paper × (1 − ink) either way.
      const unsigned int flip = info.saw_Adobe_marker != 0 ? 0 : 255;
      for (unsigned int x = 0; x < info.output_width; ++x) {
        const unsigned int key = row[4 * x + 3] ^ flip;
        for (unsigned int c = 0; c < 3; ++c) {
          out[3 * x + c] = static_cast<unsigned char>(((row[4 * x + c] ^ flip) * key + 127) / 255);
        }
      }
    }
  }
  jpeg_finish_decompress(&info);
  return true;
}

struct DecoderGuard {
  Decoder& decoder;
  ~DecoderGuard() { jpeg_destroy_decompress(&decoder.info); }
};

[[noreturn]] void throw_bad_jpeg(const ErrorState& error) {
  throw Error(ErrorKind::kBadInput, std::string("the JPEG picture is damaged: ") + error.message, {},
              "the file may be truncated: copy or export it again");
}

struct Encoder {
  jpeg_compress_struct info;
  ErrorState error;
  unsigned char* data;
  unsigned long size;
};

bool encode_rows(Encoder& encoder, const unsigned char* pixels, unsigned int width, unsigned int height, int quality) {
  if (setjmp(encoder.error.escape) != 0) {
    // libjpeg tells where its buffer has moved only at the end: after an error the pointer may be of freed memory.
    encoder.data = nullptr;
    return false;
  }
  jpeg_compress_struct& info = encoder.info;
  jpeg_mem_dest(&info, &encoder.data, &encoder.size);
  info.image_width = width;
  info.image_height = height;
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, quality, TRUE);
  if (quality >= 90) {
    info.comp_info[0].h_samp_factor = 1;
    info.comp_info[0].v_samp_factor = 1;
  }
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < height) {
    // The interface is not const-correct; rows are only read.
    JSAMPROW row = const_cast<unsigned char*>(pixels) + std::size_t{3} * width * info.next_scanline;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  return true;
}

struct EncoderGuard {
  Encoder& encoder;
  ~EncoderGuard() {
    jpeg_destroy_compress(&encoder.info);
    std::free(encoder.data);
  }
};

/// jpeg_create_* can fail too (a library of another version), hence its own setjmp.
bool create(Decoder& decoder) {
  if (setjmp(decoder.error.escape) != 0) return false;
  jpeg_create_decompress(&decoder.info);
  return true;
}

bool create(Encoder& encoder) {
  if (setjmp(encoder.error.escape) != 0) return false;
  jpeg_create_compress(&encoder.info);
  return true;
}

}  // namespace

DecodedImage decode_jpeg(std::span<const std::byte> bytes, std::int64_t max_pixels) {
  Decoder decoder{};
  decoder.info.err = prepare(decoder.error);
  const DecoderGuard guard{decoder};
  if (!create(decoder)) throw_bad_jpeg(decoder.error);
  decoder.progress.progress_monitor = on_progress;
  decoder.info.progress = &decoder.progress;
  if (!read_header(decoder, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size())) {
    throw_bad_jpeg(decoder.error);
  }
  DecodedImage decoded;
  if (const jpeg_marker_struct* exif = find_exif(decoder.info)) {
    decoded.exif_orientation =
        parse_exif_orientation({reinterpret_cast<const std::byte*>(exif->data), exif->data_length});
  }
  decoded.image = make_image("the JPEG picture", decoder.info.image_width, decoder.info.image_height, max_pixels);
  std::vector<unsigned char> cmyk_row;
  if (decoder.info.out_color_space == JCS_CMYK) cmyk_row.resize(std::size_t{4} * decoder.info.image_width);
  if (!read_rows(decoder, decoded.image.pixels.data(), cmyk_row.empty() ? nullptr : cmyk_row.data())) {
    throw_bad_jpeg(decoder.error);
  }
  return decoded;
}

std::vector<std::byte> encode_jpeg(const Image& image, int quality) {
  if (image.width_px > JPEG_MAX_DIMENSION || image.height_px > JPEG_MAX_DIMENSION) {
    throw Error(ErrorKind::kUsage, "JPEG holds at most " + std::to_string(JPEG_MAX_DIMENSION) + " pixels a side", {},
                "write a .png file instead");
  }
  Encoder encoder{};
  encoder.info.err = prepare(encoder.error);
  const EncoderGuard guard{encoder};
  if (!create(encoder) || !encode_rows(encoder, image.pixels.data(), static_cast<unsigned int>(image.width_px),
                                       static_cast<unsigned int>(image.height_px), quality)) {
    throw Error(ErrorKind::kInternal, std::string("JPEG encoding failed: ") + encoder.error.message);
  }
  const auto* begin = reinterpret_cast<const std::byte*>(encoder.data);
  return {begin, begin + encoder.size};
}

}  // namespace pajamas

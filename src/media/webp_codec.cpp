// WebP through libwebp: lossy, lossless, and the first frame of an animation. Alpha is dropped.
#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>

#include <memory>

#include "media/codecs.h"
#include "pajamas/error.h"

namespace pajamas {

namespace {

struct DemuxerDeleter {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};
struct AnimationDeleter {
  void operator()(WebPAnimDecoder* decoder) const { WebPAnimDecoderDelete(decoder); }
};

[[noreturn]] void throw_bad_webp(const std::string& reason) {
  throw Error(ErrorKind::kBadInput, "the WebP picture is damaged: " + reason, {},
              "the file may be truncated: copy or export it again");
}

const char* reason_of(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY: return "not enough memory";
    case VP8_STATUS_BITSTREAM_ERROR: return "error in the compressed data";
    case VP8_STATUS_UNSUPPORTED_FEATURE: return "unsupported feature";
    case VP8_STATUS_NOT_ENOUGH_DATA: return "the file ends too early";
    default: return "not decodable";
  }
}

void decode_first_frame(const WebPData& data, Image& image) {
  WebPAnimDecoderOptions options;
  if (WebPAnimDecoderOptionsInit(&options) == 0) throw Error(ErrorKind::kInternal, "libwebp cannot be started");
  options.color_mode = MODE_RGBA;
  const std::unique_ptr<WebPAnimDecoder, AnimationDeleter> decoder(WebPAnimDecoderNew(&data, &options));
  std::uint8_t* rgba = nullptr;
  int timestamp_ms = 0;
  if (!decoder || WebPAnimDecoderGetNext(decoder.get(), &rgba, &timestamp_ms) == 0) {
    throw_bad_webp("its first frame cannot be decoded");
  }
  const std::size_t num_pixels = image.pixels.size() / 3;
  for (std::size_t i = 0; i < num_pixels; ++i) {
    for (std::size_t c = 0; c < 3; ++c) image.pixels[3 * i + c] = rgba[4 * i + c];
  }
}

}  // namespace

DecodedImage decode_webp(std::span<const std::byte> bytes, std::int64_t max_pixels) {
  const auto* begin = reinterpret_cast<const std::uint8_t*>(bytes.data());
  const WebPData data{begin, bytes.size()};
  WebPBitstreamFeatures features;
  const VP8StatusCode status = WebPGetFeatures(begin, bytes.size(), &features);
  if (status != VP8_STATUS_OK) throw_bad_webp(reason_of(status));
  DecodedImage decoded;
  decoded.image = make_image("the WebP picture", features.width, features.height, max_pixels);
  const std::unique_ptr<WebPDemuxer, DemuxerDeleter> demuxer(WebPDemux(&data));
  if (!demuxer) throw_bad_webp("the file ends too early or its structure is broken");
  if ((WebPDemuxGetI(demuxer.get(), WEBP_FF_FORMAT_FLAGS) & EXIF_FLAG) != 0) {
    WebPChunkIterator chunk{};
    if (WebPDemuxGetChunk(demuxer.get(), "EXIF", 1, &chunk) != 0) {
      decoded.exif_orientation =
          parse_exif_orientation({reinterpret_cast<const std::byte*>(chunk.chunk.bytes), chunk.chunk.size});
    }
    WebPDemuxReleaseChunkIterator(&chunk);
  }
  if (features.has_animation != 0) {
    if (WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH) != static_cast<std::uint32_t>(features.width) ||
        WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT) != static_cast<std::uint32_t>(features.height)) {
      throw_bad_webp("its header gives two sizes");
    }
    decode_first_frame(data, decoded.image);
  } else if (WebPDecodeRGBInto(begin, bytes.size(), decoded.image.pixels.data(), decoded.image.pixels.size(),
                               3 * features.width) == nullptr) {
    throw_bad_webp("error in the compressed data, or the file ends too early");
  }
  return decoded;
}

std::vector<std::byte> encode_webp(const Image& image) {
  if (image.width_px > WEBP_MAX_DIMENSION || image.height_px > WEBP_MAX_DIMENSION) {
    throw Error(ErrorKind::kUsage, "WebP holds at most " + std::to_string(WEBP_MAX_DIMENSION) + " pixels a side", {},
                "write a .png file instead");
  }
  std::uint8_t* data = nullptr;
  const std::size_t size =
      WebPEncodeLosslessRGB(image.pixels.data(), image.width_px, image.height_px, 3 * image.width_px, &data);
  const std::unique_ptr<std::uint8_t, decltype(&WebPFree)> owner(data, WebPFree);
  if (size == 0) throw Error(ErrorKind::kInternal, "WebP encoding failed");
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  return {begin, begin + size};
}

}  // namespace pajamas

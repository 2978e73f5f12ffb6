// Fuzz target for the image decoders: any bytes either become a picture, whose size and pixels agree, or a
// pajamas::Error of bad input. Pictures are limited to 4 megapixels, so that the fuzzer spends its time on decoding.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "media/codecs.h"
#include "pajamas/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pajamas;
  constexpr std::int64_t kMaxPixels = 4'000'000;
  try {
    const Image image = decode_image(std::as_bytes(std::span(data, size)), kMaxPixels);
    const auto num_pixels = std::int64_t{image.width_px} * image.height_px;
    if (image.width_px < 1 || image.height_px < 1 || num_pixels > kMaxPixels ||
        image.pixels.size() != static_cast<std::size_t>(num_pixels) * 3) {
      std::fprintf(stderr, "violated: size and pixels agree\n");
      std::abort();
    }
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kBadInput) {
      std::fprintf(stderr, "violated: bad pictures are bad input: %s\n", error.what());
      std::abort();
    }
  }
  return 0;
}

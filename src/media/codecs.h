// The image formats, one decoder and one encoder each, behind decode_image and write_image of pajamas/image.h.
// Internal to the layer. Every decoder is given untrusted bytes: it throws Error{kBadInput}, refuses a picture of more
// than `max_pixels` before taking memory for it, and refuses a damaged or truncated one instead of guessing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "pajamas/image.h"

namespace pajamas {

/// A picture as it is stored, before its EXIF orientation is applied.
struct DecodedImage {
  Image image;
  int exif_orientation = 1;  ///< 1..8 as EXIF numbers them; 1: as stored.
};

DecodedImage decode_jpeg(std::span<const std::byte> bytes, std::int64_t max_pixels);
DecodedImage decode_png(std::span<const std::byte> bytes, std::int64_t max_pixels);
DecodedImage decode_webp(std::span<const std::byte> bytes, std::int64_t max_pixels);
DecodedImage decode_bmp(std::span<const std::byte> bytes, std::int64_t max_pixels);

/// `quality` 1..100. Chroma is stored at full resolution from 90 on, halved below.
std::vector<std::byte> encode_jpeg(const Image& image, int quality);
std::vector<std::byte> encode_png(const Image& image);
/// Lossless.
std::vector<std::byte> encode_webp(const Image& image);
std::vector<std::byte> encode_bmp(const Image& image);

/// decode_image with a limit of its own, for callers that expect small pictures.
Image decode_image(std::span<const std::byte> bytes, std::int64_t max_pixels);

/// An Image of that size, its pixels zero. Throws Error{kBadInput} naming `format` when the size is not positive or is
/// past `max_pixels`, or when memory is short.
Image make_image(const std::string& format, std::int64_t width_px, std::int64_t height_px, std::int64_t max_pixels);

/// The orientation tag in an EXIF block (with or without the leading "Exif\0\0"); 1 when there is none or it is
/// damaged, since a picture is usable without.
int parse_exif_orientation(std::span<const std::byte> exif);

/// The picture turned and mirrored as `orientation` (1..8) says.
Image oriented(Image image, int orientation);

}  // namespace pajamas

// What a JPEG says of itself before its pixels are decoded, for those who decode elsewhere than jpeg_codec.cpp (on a
// GPU). It decodes nothing and judges no Huffman code.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

namespace pajamas {

struct JpegHeader {
  int width_px = 0, height_px = 0;  ///< As stored.
  int exif_orientation = 1;         ///< 1..8
  /// What every JPEG decoder gives the same picture for, but for rounding: baseline, 8 bits,
  /// one scan of Y, Cb and Cr sampled 4:4:4, 4:2:2, 4:2:0 or 4:4:0, whose data reach to the end marker with no
  /// other marker among them but restarts in order.
  bool is_plain = false;
};

/// Walks over the markers, and over the bytes of the scan for markers among them. Nothing for bytes that are no JPEG or
/// are damaged before the scan: decode_image() says what is wrong with them. Thread-safe.
std::optional<JpegHeader> read_jpeg_header(std::span<const std::byte> bytes);

}  // namespace pajamas

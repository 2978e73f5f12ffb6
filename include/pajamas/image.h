// Pictures in host memory: what the vision tasks take.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace pajamas {

/// 8-bit RGB, rows top to bottom, no padding: pixels[(y * width_px + x) * 3 + channel].
struct Image {
  int width_px = 0;
  int height_px = 0;
  std::vector<std::uint8_t> pixels;

  bool is_empty() const noexcept { return width_px == 0 || height_px == 0; }
};

/// Largest picture that is decoded; more is refused before memory is taken.
inline constexpr std::int64_t kMaxImagePixels = 400'000'000;

/// Decodes JPEG, PNG, WebP or BMP, recognised by content. EXIF orientation is applied, the alpha channel
/// is dropped, grey levels and palettes become RGB, 16-bit samples are reduced to 8.
/// Throws Error{kBadInput} with the decoder's reason. Thread-safe.
Image decode_image(std::span<const std::byte> bytes);
/// The same for a file; errors name it.
Image read_image(const std::filesystem::path& path);
/// Writes by the file name's ending (.jpg/.jpeg, .png, .webp, .bmp), atomically. JPEG quality 1..100.
/// Throws Error{kUsage} for another ending, Error{kBadInput} when the file cannot be written.
void write_image(const Image& image, const std::filesystem::path& path, int jpeg_quality = 92);

}  // namespace pajamas

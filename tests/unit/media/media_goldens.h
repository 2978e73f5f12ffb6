// Reads tests/data/media/goldens.json and goldens.bin, which tools/goldens/make_media_goldens.py made with Pillow and
// OpenCV.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pajamas/image.h"

namespace pajamas::test {

inline std::filesystem::path media_data(const std::string& name = {}) {
  return std::filesystem::path(PAJAMAS_TEST_DATA) / "media" / name;
}

class MediaGoldens {
 public:
  MediaGoldens() {
    std::ifstream(media_data("goldens.json")) >> index_;
    std::ifstream file(media_data("goldens.bin"), std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
  }
  const nlohmann::json& index() const { return index_; }
  Image image(const nlohmann::json& entry) const {
    Image image{entry.at("width"), entry.at("height"), {}};
    const auto begin = bytes_.begin() + entry.at("offset").get<std::ptrdiff_t>();
    image.pixels.assign(begin, begin + std::ptrdiff_t{3} * image.width_px * image.height_px);
    return image;
  }

 private:
  nlohmann::json index_;
  std::vector<char> bytes_;
};

/// Largest difference of one sample; 256 when the sizes differ.
inline int largest_difference(const Image& a, const Image& b) {
  if (a.width_px != b.width_px || a.height_px != b.height_px || a.pixels.size() != b.pixels.size()) return 256;
  int largest = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) largest = std::max(largest, std::abs(a.pixels[i] - b.pixels[i]));
  return largest;
}

/// Pixels from a fixed generator.
inline Image noise_image(int width_px, int height_px, std::uint32_t seed) {
  Image image{width_px, height_px,
              std::vector<std::uint8_t>(static_cast<std::size_t>(width_px) * static_cast<std::size_t>(height_px) * 3)};
  std::uint32_t state = seed * 2654435761U + 1U;
  for (std::uint8_t& sample : image.pixels) {
    state = state * 1664525U + 1013904223U;
    sample = static_cast<std::uint8_t>(state >> 24);
  }
  return image;
}

}  // namespace pajamas::test

// See jpeg_header.h. Markers and segments: ITU-T T.81, annex B; the Adobe segment: as libjpeg reads it.
#include "media/jpeg_header.h"

#include <array>
#include <cstdint>
#include <cstring>

#include "media/codecs.h"

namespace pajamas {

namespace {

enum Marker : unsigned {
  kFirstFrame = 0xC0,
  kHuffmanTables = 0xC4,
  kArithmeticTables = 0xCC,
  kFirstRestart = 0xD0,
  kLastRestart = 0xD7,
  kStart = 0xD8,
  kEnd = 0xD9,
  kScan = 0xDA,
  kRestartInterval = 0xDD,
  kExif = 0xE1,
  kAdobe = 0xEE,
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::optional<JpegHeader> read() {
    if (bytes_.size() < 4 || at(0) != 0xFF || at(1) != kStart) return std::nullopt;
    std::size_t position = 2;
    while (true) {
      const std::optional<unsigned> marker = next_marker(position);
      if (!marker) return std::nullopt;
      if (*marker == kEnd || *marker == kStart || position + 2 > bytes_.size()) return std::nullopt;
      const std::size_t length = word(position);
      if (length < 2 || length > bytes_.size() - position) return std::nullopt;
      const auto segment = bytes_.subspan(position + 2, length - 2);
      position += length;
      if (*marker == kScan) {
        if (!has_frame_) return std::nullopt;
        header_.is_plain = has_plain_frame_ && has_plain_colors() && is_plain_scan(segment) && is_plain_data(position);
        return header_;
      }
      if (!take(*marker, segment)) return std::nullopt;
    }
  }

 private:
  unsigned at(std::size_t position) const { return std::to_integer<unsigned>(bytes_[position]); }
  static unsigned at(std::span<const std::byte> segment, std::size_t position) {
    return std::to_integer<unsigned>(segment[position]);
  }
  unsigned word(std::size_t position) const { return at(position) << 8 | at(position + 1); }

  /// The marker at `position`, which moves behind it; any number of fill bytes may stand before.
  std::optional<unsigned> next_marker(std::size_t& position) const {
    if (position >= bytes_.size() || at(position) != 0xFF) return std::nullopt;
    while (position < bytes_.size() && at(position) == 0xFF) ++position;
    if (position >= bytes_.size()) return std::nullopt;
    return at(position++);
  }

  /// False where the segment is damaged.
  bool take(unsigned marker, std::span<const std::byte> segment) {
    if (marker >= kFirstFrame && marker <= 0xCF && marker != kHuffmanTables && marker != kArithmeticTables &&
        marker != 0xC8) {
      return take_frame(marker, segment);
    }
    if (marker == kRestartInterval) {
      if (segment.size() != 2) return false;
      has_restarts_ = at(segment, 0) != 0 || at(segment, 1) != 0;
    } else if (marker == kExif && !has_exif_ && segment.size() >= 6 && std::memcmp(segment.data(), "Exif\0", 6) == 0) {
      has_exif_ = true;
      header_.exif_orientation = parse_exif_orientation(segment);
    } else if (marker == kAdobe && segment.size() >= 12 && std::memcmp(segment.data(), "Adobe", 5) == 0) {
      adobe_transform_ = static_cast<int>(at(segment, 11));
    }
    return true;
  }

  bool take_frame(unsigned marker, std::span<const std::byte> segment) {
    if (has_frame_ || segment.size() < 6) return false;
    has_frame_ = true;
    const unsigned precision = at(segment, 0);
    header_.height_px = static_cast<int>(at(segment, 1) << 8 | at(segment, 2));
    header_.width_px = static_cast<int>(at(segment, 3) << 8 | at(segment, 4));
    const unsigned num_components = at(segment, 5);
    if (segment.size() != 6 + std::size_t{3} * num_components) return false;
    if (header_.width_px == 0 || header_.height_px == 0) return false;  // Height 0 is told behind the scan.
    if (num_components != 3) return true;
    std::array<unsigned, 3> sampling{};
    for (std::size_t i = 0; i < 3; ++i) {
      component_ids_[i] = at(segment, 6 + 3 * i);
      sampling[i] = at(segment, 7 + 3 * i);
    }
    const bool is_sampling_plain =
        (sampling[0] == 0x11 || sampling[0] == 0x21 || sampling[0] == 0x22 || sampling[0] == 0x12) &&
        sampling[1] == 0x11 && sampling[2] == 0x11;
    has_plain_frame_ = marker == kFirstFrame && precision == 8 && is_sampling_plain;
    return true;
  }

  /// Stored as Y, Cb and Cr, by the rules of libjpeg: a word of Adobe's, else the components' names.
  bool has_plain_colors() const {
    if (adobe_transform_) return *adobe_transform_ == 1;
    return component_ids_ == std::array<unsigned, 3>{1, 2, 3} || component_ids_ == std::array<unsigned, 3>{0, 1, 2};
  }

  bool is_plain_scan(std::span<const std::byte> segment) const {
    if (segment.size() != 10 || at(segment, 0) != 3) return false;
    for (std::size_t i = 0; i < 3; ++i) {
      if (at(segment, 1 + 2 * i) != component_ids_[i]) return false;
    }
    return at(segment, 7) == 0 && at(segment, 8) == 63 && at(segment, 9) == 0;
  }

  bool is_plain_data(std::size_t position) const {
    unsigned next_restart = kFirstRestart;
    const auto* const begin = reinterpret_cast<const unsigned char*>(bytes_.data());
    while (position < bytes_.size()) {
      const auto* found =
          static_cast<const unsigned char*>(std::memchr(begin + position, 0xFF, bytes_.size() - position));
      if (found == nullptr) return false;
      position = static_cast<std::size_t>(found - begin) + 1;
      while (position < bytes_.size() && begin[position] == 0xFF) ++position;
      if (position >= bytes_.size()) return false;
      const unsigned code = begin[position++];
      if (code == 0) continue;  // A byte of data.
      if (code == kEnd) return true;
      if (!has_restarts_ || code != next_restart) return false;
      next_restart = code == kLastRestart ? kFirstRestart : code + 1;
    }
    return false;
  }

  std::span<const std::byte> bytes_;
  JpegHeader header_;
  bool has_frame_ = false;
  bool has_plain_frame_ = false;
  bool has_restarts_ = false;
  bool has_exif_ = false;
  std::optional<int> adobe_transform_;
  std::array<unsigned, 3> component_ids_{};
};

}  // namespace

std::optional<JpegHeader> read_jpeg_header(std::span<const std::byte> bytes) { return Reader(bytes).read(); }

}  // namespace pajamas

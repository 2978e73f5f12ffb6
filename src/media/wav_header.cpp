// The header of WAV (RIFF and RF64) in a stream that cannot be read twice: up to the first byte of sound. Files that
// can be sought are libsndfile's, which knows every variant. See audio_source.h.
#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "media/audio_source.h"

namespace pajamas {
namespace {

constexpr std::size_t kMaxHeaderBytes = 16U << 20;
/// Sizes from here on are what programs write that do not know the length: 2^32 - 1, or 2^31 less a header.
constexpr std::uint64_t kLeastUnknownSize = 0x7FFF'0000;

constexpr int kTagPcm = 1;
constexpr int kTagFloat = 3;
constexpr int kTagALaw = 6;
constexpr int kTagMuLaw = 7;
constexpr int kTagExtensible = 0xFFFE;

/// Reads on and keeps what it read.
class HeaderReader {
 public:
  HeaderReader(ByteStream& stream, std::vector<std::byte>& consumed) : stream_(stream), consumed_(consumed) {}
  /// The next `count` bytes, valid until the next call; fewer at the end of the stream or of what a header may be.
  std::span<const std::byte> take(std::uint64_t count) {
    const std::size_t begin = consumed_.size();
    if (count > kMaxHeaderBytes || begin + count > kMaxHeaderBytes) return {};
    consumed_.resize(begin + static_cast<std::size_t>(count));
    const std::size_t got = stream_.read({consumed_.data() + begin, static_cast<std::size_t>(count)});
    consumed_.resize(begin + got);
    return {consumed_.data() + begin, got};
  }

 private:
  ByteStream& stream_;
  std::vector<std::byte>& consumed_;
};

std::uint64_t number(std::span<const std::byte> bytes, std::size_t offset, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = size; i-- > 0;) value = value << 8 | std::to_integer<std::uint64_t>(bytes[offset + i]);
  return value;
}

bool has_name(std::span<const std::byte> bytes, std::string_view name) {
  return bytes.size() >= name.size() && std::memcmp(bytes.data(), name.data(), name.size()) == 0;
}

struct TagEncoding {
  int tag;
  int bits;
  RawEncoding encoding;
};
constexpr std::array kEncodings{
    TagEncoding{kTagPcm, 8, RawEncoding::kUint8},      TagEncoding{kTagPcm, 16, RawEncoding::kInt16},
    TagEncoding{kTagPcm, 24, RawEncoding::kInt24},     TagEncoding{kTagPcm, 32, RawEncoding::kInt32},
    TagEncoding{kTagFloat, 32, RawEncoding::kFloat32}, TagEncoding{kTagFloat, 64, RawEncoding::kFloat64},
    TagEncoding{kTagMuLaw, 8, RawEncoding::kMuLaw},    TagEncoding{kTagALaw, 8, RawEncoding::kALaw}};

WavHeader header_of(std::span<const std::byte> format) {
  auto tag = static_cast<int>(number(format, 0, 2));
  const auto num_channels = static_cast<int>(number(format, 2, 2));
  const std::uint64_t rate_hz = number(format, 4, 4);
  const auto frame_bytes = static_cast<int>(number(format, 12, 2));
  const auto bits = static_cast<int>(number(format, 14, 2));
  // The first two bytes of an extensible format's identifier are the tag it stands for.
  if (tag == kTagExtensible && format.size() >= 26) tag = static_cast<int>(number(format, 24, 2));
  WavHeader header;
  header.raw.num_channels = num_channels;
  header.raw.sample_rate_hz = static_cast<int>(std::min<std::uint64_t>(rate_hz, INT32_MAX));
  for (const TagEncoding& known : kEncodings) {
    if (known.tag != tag || known.bits != bits) continue;
    header.raw.encoding = known.encoding;
    header.is_plain = num_channels > 0 && frame_bytes == num_channels * bytes_of(known.encoding);
  }
  const char* const kind = tag == kTagPcm     ? "PCM"
                           : tag == kTagFloat ? "float"
                           : tag == kTagMuLaw ? "mu-law"
                           : tag == kTagALaw  ? "A-law"
                                              : "coded";
  header.name = "WAV, " + std::to_string(bits) + "-bit " + kind;
  return header;
}

}  // namespace

std::optional<WavHeader> read_wav_header(ByteStream& stream, std::vector<std::byte>& consumed) {
  HeaderReader reader(stream, consumed);
  const auto begin = reader.take(12);
  if (begin.size() < 12 || !(has_name(begin, "RIFF") || has_name(begin, "RF64")) ||
      !has_name(begin.subspan(8), "WAVE")) {
    return std::nullopt;
  }
  std::optional<WavHeader> header;
  std::optional<std::uint64_t> long_size;  // RF64 keeps sizes past 4 GiB in a chunk of their own.
  for (;;) {
    const auto chunk = reader.take(8);
    if (chunk.size() < 8) return std::nullopt;
    std::array<std::byte, 8> kept;
    std::copy_n(chunk.begin(), 8, kept.begin());
    const std::uint64_t size = number(kept, 4, 4);
    if (has_name(kept, "data")) {
      if (!header) return std::nullopt;
      if (size == UINT32_MAX && long_size && *long_size > 0 && *long_size != UINT64_MAX) {
        header->num_data_bytes = long_size;
      } else if (size > 0 && size < kLeastUnknownSize) {
        header->num_data_bytes = size;
      }
      return header;
    }
    // Chunks begin at even places.
    const auto body = reader.take(size + size % 2);
    if (body.size() < size) return std::nullopt;
    if (has_name(kept, "ds64") && size >= 16) long_size = number(body, 8, 8);
    if (has_name(kept, "fmt ") && size >= 16) header = header_of(body.first(static_cast<std::size_t>(size)));
  }
}

}  // namespace pajamas

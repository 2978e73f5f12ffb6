// Samples without a header: the names of their encodings, and decoding them as they arrive. See audio_source.h.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include "media/audio_source.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

struct EncodingName {
  std::string_view name;
  RawEncoding encoding;
  int num_bytes;
};
constexpr std::array kNames{
    EncodingName{"u8", RawEncoding::kUint8, 1},      EncodingName{"s16le", RawEncoding::kInt16, 2},
    EncodingName{"s24le", RawEncoding::kInt24, 3},   EncodingName{"s32le", RawEncoding::kInt32, 4},
    EncodingName{"f32le", RawEncoding::kFloat32, 4}, EncodingName{"f64le", RawEncoding::kFloat64, 8},
    EncodingName{"mulaw", RawEncoding::kMuLaw, 1},   EncodingName{"alaw", RawEncoding::kALaw, 1}};

/// ITU-T G.711: sign, three bits of exponent, four of mantissa, all inverted; 14-bit values scaled to 16.
float mu_law(std::uint8_t code) {
  const int bits = ~code & 0xFF;
  const int magnitude = ((((bits & 0x0F) << 3) + 0x84) << (bits >> 4 & 7)) - 0x84;
  return static_cast<float>((bits & 0x80) != 0 ? -magnitude : magnitude) / 32768.0F;
}

/// ITU-T G.711: as above with every second bit inverted, and the lowest segment linear; 13-bit values scaled to 16.
float a_law(std::uint8_t code) {
  const int bits = code ^ 0x55;
  const int exponent = bits >> 4 & 7;
  int magnitude = ((bits & 0x0F) << 4) + 8;
  if (exponent > 0) magnitude = (magnitude + 0x100) << (exponent - 1);
  return static_cast<float>((bits & 0x80) != 0 ? magnitude : -magnitude) / 32768.0F;
}

template <typename T>
T value_at(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

template <typename Decode>
void decode_each(std::span<const std::byte> bytes, int step, float* output, const Decode& decode) {
  for (std::size_t at = 0; at + step <= bytes.size(); at += step) *output++ = decode(bytes.data() + at);
}

void decode(RawEncoding encoding, std::span<const std::byte> bytes, float* output) {
  const int step = bytes_of(encoding);
  const auto code = [](const std::byte* at) { return std::to_integer<std::uint8_t>(*at); };
  switch (encoding) {
    case RawEncoding::kUint8:
      return decode_each(bytes, step, output,
                         [&](const std::byte* at) { return static_cast<float>(code(at) - 128) / 128.0F; });
    case RawEncoding::kInt16:
      return decode_each(bytes, step, output,
                         [](const std::byte* at) { return static_cast<float>(value_at<std::int16_t>(at)) / 32768.0F; });
    case RawEncoding::kInt24:
      return decode_each(bytes, step, output, [&](const std::byte* at) {
        // Into the upper three bytes, so that the sign comes along.
        const std::uint32_t upper =
            std::uint32_t{code(at)} << 8 | std::uint32_t{code(at + 1)} << 16 | std::uint32_t{code(at + 2)} << 24;
        return static_cast<float>(static_cast<std::int32_t>(upper)) / 2147483648.0F;
      });
    case RawEncoding::kInt32:
      return decode_each(bytes, step, output, [](const std::byte* at) {
        return static_cast<float>(value_at<std::int32_t>(at)) / 2147483648.0F;
      });
    case RawEncoding::kFloat32: return decode_each(bytes, step, output, value_at<float>);
    case RawEncoding::kFloat64:
      return decode_each(bytes, step, output,
                         [](const std::byte* at) { return static_cast<float>(value_at<double>(at)); });
    case RawEncoding::kMuLaw:
      return decode_each(bytes, step, output, [&](const std::byte* at) { return mu_law(code(at)); });
    case RawEncoding::kALaw:
      return decode_each(bytes, step, output, [&](const std::byte* at) { return a_law(code(at)); });
  }
}

class RawStream final : public AudioSource {
 public:
  RawStream(std::unique_ptr<ByteStream> stream, const RawAudio& raw, std::optional<std::uint64_t> num_bytes,
            std::string name)
      : stream_(std::move(stream)),
        raw_(raw),
        num_bytes_(num_bytes),
        frame_bytes_(static_cast<std::uint64_t>(bytes_of(raw.encoding)) * raw.num_channels),
        format_{raw.sample_rate_hz, raw.num_channels, std::move(name)} {}

  AudioFormat format() const override { return format_; }
  std::optional<std::int64_t> num_frames() const override {
    if (!num_bytes_) return std::nullopt;
    return static_cast<std::int64_t>(*num_bytes_ / frame_bytes_);
  }

  std::int64_t read(std::span<float> samples) override {
    std::uint64_t wanted = samples.size() / raw_.num_channels * frame_bytes_;
    if (num_bytes_) wanted = std::min(wanted, *num_bytes_ - num_read_);
    bytes_.resize(wanted);
    const std::size_t got = wanted > 0 ? stream_->read(bytes_) : 0;
    num_read_ += got;
    const std::uint64_t num_frames = got / frame_bytes_;
    decode(raw_.encoding, {bytes_.data(), num_frames * frame_bytes_}, samples.data());
    return static_cast<std::int64_t>(num_frames);
  }

  std::string complaint() override {
    if (num_read_ % frame_bytes_ != 0) return "ends within a sample";
    return {};
  }

 private:
  std::unique_ptr<ByteStream> stream_;
  RawAudio raw_;
  std::optional<std::uint64_t> num_bytes_;
  std::uint64_t frame_bytes_;
  std::uint64_t num_read_ = 0;
  AudioFormat format_;
  std::vector<std::byte> bytes_;
};

}  // namespace

int bytes_of(RawEncoding encoding) noexcept {
  for (const EncodingName& known : kNames) {
    if (known.encoding == encoding) return known.num_bytes;
  }
  return 1;
}

RawAudio parse_raw_audio(std::string_view text) {
  std::vector<std::string_view> parts;
  for (std::string_view rest = text;;) {
    const std::size_t end = rest.find(':');
    parts.push_back(rest.substr(0, end));
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  const auto refuse = [&](const std::string& why) -> Error {
    return {ErrorKind::kUsage,
            "'" + std::string(text) + "' does not describe raw audio: " + why,
            {},
            "write ENCODING:RATE or ENCODING:RATE:CHANNELS, as in s16le:16000; encodings are u8, s16le, s24le, s32le, "
            "f32le, f64le, mulaw, alaw"};
  };
  const auto number = [&](std::string_view digits, const char* what, int largest) {
    int value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size() || value < 1 || value > largest) {
      throw refuse("'" + std::string(digits) + "' is no " + what);
    }
    return value;
  };
  if (parts.size() < 2 || parts.size() > 3) throw refuse("it has " + std::to_string(parts.size()) + " parts");
  RawAudio raw;
  const auto known = std::find_if(kNames.begin(), kNames.end(), [&](const auto& row) { return row.name == parts[0]; });
  if (known == kNames.end()) throw refuse("'" + std::string(parts[0]) + "' is no encoding");
  raw.encoding = known->encoding;
  raw.sample_rate_hz = number(parts[1], "sample rate", INT32_MAX);
  if (parts.size() == 3) raw.num_channels = number(parts[2], "number of channels", 1024);
  return raw;
}

std::unique_ptr<AudioSource> open_raw_stream(std::unique_ptr<ByteStream> stream, const RawAudio& raw,
                                             std::optional<std::uint64_t> num_bytes, std::string name) {
  return std::make_unique<RawStream>(std::move(stream), raw, num_bytes, std::move(name));
}

}  // namespace pajamas

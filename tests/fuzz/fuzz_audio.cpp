// Fuzz target for the audio reader: any bytes either become finite samples, as many as their reader says, or a
// pajamas::Error of bad input; as a file in memory and as WAV in a pipe. A minute of sound is read at most, so that the
// fuzzer spends its time on headers.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "media/audio_reader.h"
#include "media/audio_source.h"
#include "pajamas/error.h"

namespace {

void require(bool holds, const char* claim) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", claim);
  std::abort();
}

void read_as_file(std::span<const std::byte> bytes) {
  pajamas::AudioReaderOptions options;
  options.ffmpeg.clear();
  pajamas::AudioReader reader(bytes, options);
  require(!reader.num_samples() || *reader.num_samples() >= 0, "lengths are not negative");
  std::vector<float> block(4000);
  std::int64_t num_read = 0;
  while (num_read < 60 * 16000) {
    const std::size_t got = reader.read(block);
    if (got == 0) break;
    require(got <= block.size(), "no more is given than fits");
    num_read += static_cast<std::int64_t>(got);
    require(num_read == reader.position(), "positions count what was given");
    require(std::all_of(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(got),
                        [](float sample) { return std::isfinite(sample); }),
            "samples are finite");
  }
}

void read_as_pipe(std::span<const std::byte> bytes) {
  auto stream = std::make_unique<pajamas::MemoryStream>(bytes);
  std::vector<std::byte> consumed;
  const auto header = pajamas::read_wav_header(*stream, consumed);
  require(consumed.size() <= bytes.size() && std::equal(consumed.begin(), consumed.end(), bytes.begin()),
          "what was consumed is the beginning");
  if (!header || !header->is_plain) return;
  const auto source = pajamas::open_raw_stream(std::move(stream), header->raw, header->num_data_bytes, header->name);
  const auto num_channels = static_cast<std::size_t>(header->raw.num_channels);
  std::vector<float> block(num_channels * 16);
  std::int64_t num_frames = 0;
  while (const std::int64_t got = source->read(block)) num_frames += got;
  require(static_cast<std::uint64_t>(num_frames) * num_channels <= bytes.size(), "samples come of bytes");
}

}  // namespace

// What the decoding libraries lose of broken files is theirs; libvorbis keeps the start of a broken header.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {  // NOLINT: the sanitizer's name
  return "leak:libsndfile\nleak:libvorbis\nleak:libogg\nleak:libopus\nleak:libmpg123\nleak:libFLAC\n";
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  read_as_pipe(bytes);
  try {
    read_as_file(bytes);
  } catch (const pajamas::Error& error) {
    require(error.kind() == pajamas::ErrorKind::kBadInput, error.what());
  }
  return 0;
}

// libsndfile: audio in files and in memory. See audio_source.h.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "media/audio_source.h"
#include "pajamas/error.h"

#ifdef PAJAMAS_NO_AUDIO_LIBRARIES

namespace pajamas {
namespace {
[[noreturn]] void refuse() {
  throw Error(ErrorKind::kBadInput, "this build of the program reads WAV and raw samples only", {},
              "use the program of './dev build', or convert the audio to WAV");
}
}  // namespace
std::unique_ptr<AudioSource> open_sound_file(Descriptor) { refuse(); }
std::unique_ptr<AudioSource> open_sound_bytes(std::span<const std::byte>) { refuse(); }
}  // namespace pajamas

#else

#include <sndfile.h>

namespace pajamas {
namespace {

std::string format_name(int format) {
  SF_FORMAT_INFO major{format & SF_FORMAT_TYPEMASK, nullptr, nullptr};
  SF_FORMAT_INFO encoding{format & SF_FORMAT_SUBMASK, nullptr, nullptr};
  ::sf_command(nullptr, SFC_GET_FORMAT_INFO, &major, sizeof major);
  ::sf_command(nullptr, SFC_GET_FORMAT_INFO, &encoding, sizeof encoding);
  std::string name = major.name != nullptr ? major.name : "audio";
  if (const std::size_t end = name.find(" ("); end != std::string::npos) name.resize(end);
  return encoding.name != nullptr ? name + ", " + encoding.name : name;
}

/// What libsndfile needs to read from memory.
struct Memory {
  std::span<const std::byte> bytes;
  sf_count_t position = 0;

  static Memory& of(void* self) { return *static_cast<Memory*>(self); }
  static sf_count_t size(void* self) { return static_cast<sf_count_t>(of(self).bytes.size()); }
  static sf_count_t tell(void* self) { return of(self).position; }
  static sf_count_t seek(sf_count_t offset, int whence, void* self) {
    Memory& memory = of(self);
    const sf_count_t base = whence == SEEK_CUR ? memory.position : whence == SEEK_END ? size(self) : 0;
    // A damaged file may ask for places past counting.
    const sf_count_t step = std::clamp<sf_count_t>(offset, -size(self), size(self));
    memory.position = std::clamp<sf_count_t>(base + step, 0, size(self));
    return memory.position;
  }
  static sf_count_t read(void* target, sf_count_t count, void* self) {
    Memory& memory = of(self);
    const sf_count_t taken = std::clamp<sf_count_t>(count, 0, size(self) - memory.position);
    if (taken > 0) std::memcpy(target, memory.bytes.data() + memory.position, static_cast<std::size_t>(taken));
    memory.position += taken;
    return taken;
  }
  static sf_count_t write(const void*, sf_count_t, void*) { return 0; }
};

/// libsndfile keeps the reason why a file did not open in one place for all threads.
std::mutex open_mutex;

class SoundFile final : public AudioSource {
 public:
  explicit SoundFile(Descriptor descriptor) : info_{}, descriptor_(std::move(descriptor)) {
    const std::lock_guard lock(open_mutex);
    // By descriptor and not by name: from a name libsndfile would guess formats without a header by its extension.
    file_ = ::sf_open_fd(descriptor_.get(), SFM_READ, &info_, SF_FALSE);
    require_open();
  }
  explicit SoundFile(std::span<const std::byte> bytes) : info_{}, memory_{bytes} {
    const std::lock_guard lock(open_mutex);
    SF_VIRTUAL_IO io{&Memory::size, &Memory::seek, &Memory::read, &Memory::write, &Memory::tell};
    file_ = ::sf_open_virtual(&io, SFM_READ, &info_, &memory_);
    require_open();
  }
  ~SoundFile() override { ::sf_close(file_); }
  SoundFile(const SoundFile&) = delete;
  SoundFile& operator=(const SoundFile&) = delete;

  AudioFormat format() const override { return {info_.samplerate, info_.channels, format_name(info_.format)}; }
  std::optional<std::int64_t> num_frames() const override {
    if (info_.frames <= 0 || info_.frames == SF_COUNT_MAX) return std::nullopt;
    return info_.frames;
  }
  std::int64_t read(std::span<float> samples) override {
    const auto wanted = static_cast<sf_count_t>(samples.size()) / info_.channels;
    const sf_count_t got = ::sf_readf_float(file_, samples.data(), wanted);
    return std::clamp<sf_count_t>(got, 0, wanted);
  }
  std::string complaint() override {
    // libsndfile knows the length of a whole OGG file from its last page.
    if ((info_.format & SF_FORMAT_TYPEMASK) == SF_FORMAT_OGG && !num_frames()) return "lacks its end: it was cut off";
    return ::sf_error(file_) != SF_ERR_NO_ERROR ? std::string("the decoder says: ") + ::sf_strerror(file_) : "";
  }

 private:
  void require_open() const {
    if (file_ != nullptr) {
      if (info_.channels >= 1) return;
      ::sf_close(file_);
      throw Error(ErrorKind::kBadInput, "the header announces no channel");
    }
    std::string reason = ::sf_strerror(nullptr);
    while (!reason.empty() && (reason.back() == '.' || reason.back() == '\n')) reason.pop_back();
    throw Error(ErrorKind::kBadInput, "libsndfile cannot read it (" + reason + ")");
  }
  SF_INFO info_;
  Descriptor descriptor_;
  Memory memory_{};
  SNDFILE* file_ = nullptr;
};

}  // namespace

std::unique_ptr<AudioSource> open_sound_file(Descriptor descriptor) {
  return std::make_unique<SoundFile>(std::move(descriptor));
}
std::unique_ptr<AudioSource> open_sound_bytes(std::span<const std::byte> bytes) {
  return std::make_unique<SoundFile>(bytes);
}

}  // namespace pajamas

#endif

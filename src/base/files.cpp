// Mapped files, atomic writes and staged directories. See files.h.
#include "base/files.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <system_error>

#include "base/descriptor.h"
#include "base/log.h"
#include "base/staged_file.h"
#include "pajamas/error.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

Descriptor open_for_read(const fs::path& path, struct stat& status) {
  // Not blocking: opening a pipe that nobody writes would wait for ever before it could be refused below.
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.is_open()) fail_to_read("cannot open", path.string(), errno);
  if (::fstat(fd.get(), &status) != 0) fail_to_read("cannot read", path.string(), errno);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::kBadInput, S_ISDIR(status.st_mode) ? "is a directory, not a file" : "is not a regular file",
                path.string(), "name a file");
  }
  return fd;
}

void flush_to_disk(const fs::path& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.is_open()) ::fsync(fd.get());
}

/// Every live MappedFile by its address, for release_file_memory. Never destroyed: files may outlive static objects.
struct Mappings {
  std::mutex mutex;
  std::map<const std::byte*, const MappedFile*, std::less<>> files;
};
Mappings& mappings() {
  static auto* all = new Mappings;
  return *all;
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const fs::path& path) {
  struct stat status {};
  const Descriptor fd = open_for_read(path, status);
  const auto size = static_cast<std::size_t>(status.st_size);
  return map(path, fd.get(), MAP_PRIVATE, 0, size);
}

std::shared_ptr<const MappedFile> MappedFile::open_range(const fs::path& path, std::uint64_t offset, std::size_t size) {
  struct stat status {};
  const Descriptor fd = open_for_read(path, status);
  // Shared: a private mapping need not show what is written later.
  return map(path, fd.get(), MAP_SHARED, offset, size);
}

std::shared_ptr<const MappedFile> MappedFile::map(const fs::path& path, int descriptor, int flags, std::uint64_t offset,
                                                  std::size_t size) {
  const std::byte* data = nullptr;
  if (size > 0) {
    void* address = ::mmap(nullptr, size, PROT_READ, flags, descriptor, static_cast<off_t>(offset));
    if (address == MAP_FAILED) fail_to_read("cannot map", path.string(), errno);
    data = static_cast<const std::byte*>(address);
  }
  const std::shared_ptr<const MappedFile> file(new MappedFile(path, data, size));
  if (data != nullptr) {
    Mappings& all = mappings();
    const std::lock_guard lock(all.mutex);
    all.files.emplace(data, file.get());
  }
  return file;
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  {
    Mappings& all = mappings();
    const std::lock_guard lock(all.mutex);
    all.files.erase(data_);
  }
  ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release_memory(std::span<const std::byte> part) const noexcept {
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  // The mapping begins on a page.
  const auto begin = (static_cast<std::uintptr_t>(part.data() - data_) + page - 1) / page * page;
  const auto end = static_cast<std::uintptr_t>(part.data() + part.size() - data_) / page * page;
  // The mapping is private and never written, so dropping its pages loses nothing; a failure only costs memory.
  if (end > begin) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

void release_file_memory(std::span<const std::byte> part) noexcept {
  Mappings& all = mappings();
  // Held while pages are dropped, so that the file is not unmapped meanwhile.
  const std::lock_guard lock(all.mutex);
  auto next = all.files.upper_bound(part.data());
  if (next == all.files.begin()) return;
  const MappedFile& file = *std::prev(next)->second;
  const auto bytes = file.bytes();
  if (part.data() + part.size() <= bytes.data() + bytes.size()) file.release_memory(part);
}

std::string read_file(const fs::path& path, std::uint64_t max_bytes) {
  struct stat status {};
  const Descriptor fd = open_for_read(path, status);
  if (static_cast<std::uint64_t>(status.st_size) > max_bytes) {
    throw Error(ErrorKind::kBadInput,
                "is " + std::to_string(status.st_size) + " bytes, more than the " + std::to_string(max_bytes) +
                    " bytes such a file may have",
                path.string());
  }
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = ::read(fd.get(), text.data() + done, text.size() - done);
    if (got < 0) {
      if (errno == EINTR) continue;
      fail_to_read("cannot read", path.string(), errno);
    }
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

void write_file(const fs::path& path, std::span<const std::span<const std::byte>> pieces) {
  StagedFile file(path);
  for (const std::span<const std::byte> bytes : pieces) file.write(bytes);
  file.commit();
}

void write_file(const fs::path& path, std::span<const std::byte> bytes) {
  write_file(path, std::span<const std::span<const std::byte>>(&bytes, 1));
}

void write_file(const fs::path& path, std::string_view text) {
  write_file(path, std::as_bytes(std::span(text.data(), text.size())));
}

namespace {

StagingObserver* staging_observer = nullptr;

/// Whether the process still works: a zombie, which nobody has waited for yet, does not.
bool is_alive(pid_t pid) {
  if (::kill(pid, 0) != 0) return errno != ESRCH;
  std::ifstream status("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(status, text);
  const std::size_t name_end = text.rfind(')');  // "<pid> (<name>) <state> ...", and the name may hold anything
  if (name_end == std::string::npos || name_end + 2 >= text.size()) return true;
  const char state = text[name_end + 2];
  return state != 'Z' && state != 'X';
}

/// Removes what builds that died left beside `target`: siblings named ".<name>.partial-<pid>-<n>" whose process is
/// gone.
void remove_stale_siblings(const fs::path& target) {
  const std::string prefix = "." + target.filename().string() + ".partial-";
  std::error_code ignored;
  std::error_code error;
  for (fs::directory_iterator place(target.parent_path(), error), end; !error && place != end; place.increment(error)) {
    const fs::directory_entry& entry = *place;
    const std::string name = entry.path().filename().string();
    if (name.rfind(prefix, 0) != 0) continue;
    const long pid = std::strtol(name.c_str() + prefix.size(), nullptr, 10);
    if (pid > 0 && !is_alive(static_cast<pid_t>(pid))) {
      log().info("removing {} left by a build that did not finish", entry.path().string());
      fs::remove_all(entry.path(), ignored);
    }
  }
}

fs::path normalised_target(const fs::path& target) {
  fs::path path = fs::absolute(target).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

void observe_staging(StagingObserver* observer) { staging_observer = observer; }

StagedDirectory::StagedDirectory(fs::path target) : target_(normalised_target(target)) {
  std::error_code error;
  for (fs::path folder = target_.parent_path(); !fs::exists(folder, error) && folder.has_relative_path();
       folder = folder.parent_path()) {
    made_parents_.push_back(folder);
  }
  if (fs::exists(target_, error) && !fs::is_directory(target_, error)) {
    throw Error(ErrorKind::kBadInput, "exists and is not a folder", target_.string(), "choose another folder with -o");
  }
  staging_ = staging_sibling(target_);
  if (staging_observer != nullptr) staging_observer->on_begin(staging_, made_parents_.size());
  // Another build that fails at this moment may take the parents away again, hence more than one attempt.
  for (int attempt = 0;; ++attempt) {
    fs::create_directories(target_.parent_path(), error);
    if (error) {
      discard();
      fail_to_write("cannot create the folder", target_.parent_path().string(), error.value());
    }
    if (attempt == 0) remove_stale_siblings(target_);
    if (::mkdir(staging_.c_str(), 0755) == 0) return;
    const int saved = errno;
    if (saved == ENOENT && attempt < 10) continue;
    discard();
    fail_to_write("cannot create a folder beside it", target_.string(), saved);
  }
}

StagedDirectory::~StagedDirectory() { discard(); }

void StagedDirectory::discard() const {
  std::error_code ignored;
  if (!is_committed_) {
    fs::remove_all(staging_, ignored);
    // Innermost first; a folder that meanwhile holds something of somebody else stays.
    for (const fs::path& folder : made_parents_) ::rmdir(folder.c_str());
  }
  if (staging_observer != nullptr) staging_observer->on_end(staging_);
}

Error StagedDirectory::described(const Error& error) const {
  const auto with_target = [this](std::string text) {
    const std::string& hidden = staging_.native();
    for (std::size_t at = text.find(hidden); at != std::string::npos; at = text.find(hidden, at)) {
      text.replace(at, hidden.size(), target_.native());
      at += target_.native().size();
    }
    return text;
  };
  return {error.kind(), with_target(error.message()), with_target(error.where()), with_target(error.remedy())};
}

void StagedDirectory::commit() {
  std::error_code walk_error;
  for (fs::recursive_directory_iterator entry(staging_, walk_error), end; !walk_error && entry != end;
       entry.increment(walk_error)) {
    if (std::error_code ignored; entry->is_regular_file(ignored)) flush_to_disk(entry->path());
  }
  if (walk_error) fail_to_read("cannot read the finished folder", staging_.string(), walk_error.value());
  flush_to_disk(staging_);
  // rename(2) replaces only an empty directory. Exchanging the two keeps a whole bundle under the name at every moment;
  // what was there before is then ours to remove, under the name of the staging folder.
  std::error_code ignored;
  if (fs::is_directory(fs::symlink_status(target_, ignored)) &&
      ::renameat2(AT_FDCWD, staging_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0) {
    is_committed_ = true;
    flush_to_disk(target_.parent_path());
    fs::remove_all(staging_, ignored);
    return;
  }
  // Where nothing is there yet, or the file system cannot exchange: an older bundle is moved aside and removed
  // afterwards. When two builds finish at once, one of them finds the name taken again and repeats.
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (::rename(staging_.c_str(), target_.c_str()) == 0) {
      is_committed_ = true;
      flush_to_disk(target_.parent_path());
      return;
    }
    if (errno != ENOTEMPTY && errno != EEXIST) {
      fail_to_write("cannot put the folder in place", target_.string(), errno);
    }
    const fs::path old = staging_sibling(target_);
    if (::rename(target_.c_str(), old.c_str()) == 0) {
      const bool was_placed = ::rename(staging_.c_str(), target_.c_str()) == 0;
      const int saved = errno;
      if (!was_placed && saved != ENOTEMPTY && saved != EEXIST) {
        ::rename(old.c_str(), target_.c_str());  // The older bundle is worth more than none.
        fail_to_write("cannot put the folder in place", target_.string(), saved);
      }
      fs::remove_all(old, ignored);
      if (was_placed) {
        is_committed_ = true;
        flush_to_disk(target_.parent_path());
        return;
      }
    } else if (errno != ENOENT) {
      fail_to_write("cannot replace the older folder", target_.string(), errno);
    }
  }
  throw Error(ErrorKind::kBadInput, "other builds keep replacing this folder", target_.string(),
              "wait for them, or choose another folder with -o");
}

fs::path resolve_inside(const fs::path& root, std::string_view relative) {
  const fs::path part{std::string(relative)};
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::kBadInput, "refers to '" + std::string(relative) + "', which " + why, root.string(),
                "keep every file a model refers to inside the model's own folder");
  };
  if (part.empty()) refuse("is an empty path");
  if (relative.find('\0') != std::string_view::npos) refuse("holds a NUL character");
  if (part.is_absolute()) refuse("is an absolute path");
  for (const auto& piece : part) {
    if (piece == "..") refuse("leads out of the folder");
  }
  const fs::path base = root.empty() ? fs::path(".") : root;
  std::error_code error;
  const fs::path real_root = fs::weakly_canonical(base, error);
  if (error) fail_to_read("cannot resolve", base.string(), error.value());
  const fs::path real = fs::weakly_canonical(base / part, error);
  if (error) fail_to_read("cannot resolve", (base / part).string(), error.value());
  const auto [root_end, nothing] = std::mismatch(real_root.begin(), real_root.end(), real.begin(), real.end());
  if (root_end != real_root.end()) refuse("is a symbolic link out of the folder");
  return base / part;
}

fs::path executable_path() {
  std::error_code error;
  fs::path path = fs::read_symlink("/proc/self/exe", error);
  if (error) fail_to_read("cannot find the running program", "/proc/self/exe", error.value());
  return path;
}

}  // namespace pajamas

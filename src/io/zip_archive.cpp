// See zip_archive.h. Layout: PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.3.
#include "io/zip_archive.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "io/byte_cursor.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::uint32_t kEndSignature = 0x06054b50;
constexpr std::uint32_t kLocatorSignature = 0x07064b50;
constexpr std::uint32_t kEnd64Signature = 0x06064b50;
constexpr std::uint32_t kEntrySignature = 0x02014b50;
constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::size_t kEndBytes = 22;
constexpr std::size_t kLocatorBytes = 20;
constexpr std::size_t kMaxCommentBytes = 65535;
constexpr std::uint64_t kMinEntryBytes = 46;
constexpr std::uint16_t kEncrypted = 1;
constexpr std::uint16_t kZip64Field = 1;
constexpr std::uint32_t kSeeZip64 = 0xffffffff;

struct Directory {
  std::uint64_t num_entries = 0, size = 0, offset = 0;
};

std::span<const std::byte> part(std::span<const std::byte> bytes, std::uint64_t offset, const std::string& where) {
  if (offset > bytes.size()) {
    throw Error(
        ErrorKind::kBadInput,
        "is a zip archive with a part at byte " + std::to_string(offset) + " of " + std::to_string(bytes.size()), where,
        "fetch the file again");
  }
  return bytes.subspan(static_cast<std::size_t>(offset));
}

/// The record at the end of the file, before a comment.
Directory find_directory(std::span<const std::byte> bytes, const std::string& where) {
  const std::size_t searched = std::min(bytes.size(), kEndBytes + kMaxCommentBytes);
  for (std::size_t back = kEndBytes; back <= searched; ++back) {
    ByteCursor cursor(bytes.subspan(bytes.size() - back), where);
    if (cursor.number<std::uint32_t>("the end record") != kEndSignature) continue;
    const auto disk = cursor.number<std::uint16_t>("the end record");
    cursor.take(2, "the end record");
    cursor.take(2, "the end record");
    Directory directory;
    directory.num_entries = cursor.number<std::uint16_t>("the end record");
    directory.size = cursor.number<std::uint32_t>("the end record");
    directory.offset = cursor.number<std::uint32_t>("the end record");
    if (disk != 0 && disk != 0xffff) {
      throw Error(ErrorKind::kUnsupported, "is one of several parts of a zip archive", where);
    }
    if (bytes.size() - back < kLocatorBytes) return directory;
    ByteCursor locator(bytes.subspan(bytes.size() - back - kLocatorBytes), where);
    if (locator.number<std::uint32_t>("the zip64 locator") != kLocatorSignature) return directory;
    locator.take(4, "the zip64 locator");
    ByteCursor end(part(bytes, locator.number<std::uint64_t>("the zip64 locator"), where), where);
    if (end.number<std::uint32_t>("the zip64 end record") != kEnd64Signature) {
      end.fail("is a zip archive without the zip64 record that it points to");
    }
    end.take(8 + 2 + 2 + 4 + 4 + 8, "the zip64 end record");
    directory.num_entries = end.number<std::uint64_t>("the zip64 end record");
    directory.size = end.number<std::uint64_t>("the zip64 end record");
    directory.offset = end.number<std::uint64_t>("the zip64 end record");
    return directory;
  }
  throw Error(ErrorKind::kBadInput, "is a zip archive without an end: it was cut off", where, "fetch the file again");
}

}  // namespace

std::map<std::string, std::span<const std::byte>> read_stored_zip(std::span<const std::byte> bytes,
                                                                  const std::string& where) {
  const Directory directory = find_directory(bytes, where);
  ByteCursor cursor(part(bytes, directory.offset, where), where);
  if (directory.num_entries > cursor.left() / kMinEntryBytes) {
    cursor.fail("is a zip archive that says it has " + std::to_string(directory.num_entries) +
                " entries, more than it can hold");
  }
  std::map<std::string, std::span<const std::byte>> entries;
  for (std::uint64_t i = 0; i < directory.num_entries; ++i) {
    constexpr const char* kWhat = "the directory of the zip archive";
    if (cursor.number<std::uint32_t>(kWhat) != kEntrySignature) cursor.fail("has a damaged zip directory");
    cursor.take(4, kWhat);
    const auto flags = cursor.number<std::uint16_t>(kWhat);
    const auto method = cursor.number<std::uint16_t>(kWhat);
    cursor.take(2 + 2 + 4, kWhat);
    std::uint64_t stored_bytes = cursor.number<std::uint32_t>(kWhat);
    std::uint64_t num_bytes = cursor.number<std::uint32_t>(kWhat);
    const auto name_bytes = cursor.number<std::uint16_t>(kWhat);
    const auto extra_bytes = cursor.number<std::uint16_t>(kWhat);
    const auto comment_bytes = cursor.number<std::uint16_t>(kWhat);
    cursor.take(2 + 2 + 4, kWhat);
    std::uint64_t offset = cursor.number<std::uint32_t>(kWhat);
    const std::string name(cursor.text(name_bytes, kWhat));
    ByteCursor extra(cursor.take(extra_bytes, kWhat), where);
    cursor.take(comment_bytes, kWhat);
    while (extra.left() >= 4) {
      const auto id = extra.number<std::uint16_t>(kWhat);
      ByteCursor field(extra.take(extra.number<std::uint16_t>(kWhat), kWhat), where);
      if (id != kZip64Field) continue;
      for (std::uint64_t* value : {&num_bytes, &stored_bytes, &offset}) {
        if (*value == kSeeZip64) *value = field.number<std::uint64_t>(kWhat);
      }
    }
    if (method != 0 || stored_bytes != num_bytes) {
      throw Error(ErrorKind::kUnsupported, "holds the entry '" + name + "' compressed", where,
                  "PyTorch writes checkpoints without compression: fetch the original file");
    }
    if ((flags & kEncrypted) != 0) {
      throw Error(ErrorKind::kUnsupported, "holds the entry '" + name + "' encrypted", where);
    }
    ByteCursor local(part(bytes, offset, where), where);
    if (local.number<std::uint32_t>("a zip entry") != kLocalSignature) {
      local.fail("has no entry where the zip directory has '" + name + "'");
    }
    local.take(22, "a zip entry");
    const auto local_name_bytes = local.number<std::uint16_t>("a zip entry");
    const auto local_extra_bytes = local.number<std::uint16_t>("a zip entry");
    local.take(local_name_bytes, "a zip entry");
    local.take(local_extra_bytes, "a zip entry");
    if (!entries.emplace(name, local.take(num_bytes, "the entry '" + name + "'")).second) {
      cursor.fail("has the entry '" + name + "' twice");
    }
  }
  return entries;
}

}  // namespace pajamas

// See engine_file.h.
#include "targets/cuda/runtime/engine_file.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/digest.h"
#include "base/files.h"
#include "pajamas/error.h"

namespace pajamas::cuda {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is written as it lies in memory");

constexpr std::array<char, 8> kMagic{'P', 'J', 'C', 'U', 'D', 'A', '\0', '\1'};
constexpr std::size_t kNumSections = 4;
constexpr std::array<const char*, kNumSections> kSectionNames{"graph", "index", "states", "weights"};
/// Sections begin at pages, so that each can be mapped and read without touching its neighbour.
constexpr std::size_t kSectionAlignment = 4096;
constexpr std::size_t kDigestChars = 64;

struct Section {
  std::uint64_t offset;
  std::uint64_t size_bytes;
  char sha256[kDigestChars];
};

struct Header {
  char magic[8];
  std::uint32_t version;
  std::uint32_t header_bytes;
  std::uint64_t file_bytes;
  Section sections[kNumSections];
  char header_sha256[kDigestChars];  ///< Of everything before it.
};
static_assert(sizeof(Header) == 24 + kNumSections * 80 + kDigestChars, "no padding");

std::size_t aligned(std::size_t offset) {
  return (offset + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment;
}

std::string header_digest(const Header& header) {
  return sha256_hex({reinterpret_cast<const std::byte*>(&header), offsetof(Header, header_sha256)});
}

[[noreturn]] void refuse(const std::string& why, const std::string& where) {
  throw Error(ErrorKind::kBadInput, why, where, "build the bundle again, and copy its files as binary");
}

}  // namespace

void write_engine_file(const std::filesystem::path& path, std::span<const std::byte> graph,
                       std::span<const std::byte> index, std::span<const std::byte> states,
                       std::span<const std::span<const std::byte>> weights) {
  Header header{};
  std::memcpy(header.magic, kMagic.data(), kMagic.size());
  header.version = kEngineFormatVersion;
  header.header_bytes = sizeof(Header);

  static constexpr std::array<std::byte, kSectionAlignment> kPadding{};
  const std::array<std::vector<std::span<const std::byte>>, kNumSections> contents{
      std::vector{graph}, std::vector{index}, std::vector{states},
      std::vector<std::span<const std::byte>>(weights.begin(), weights.end())};
  std::vector<std::span<const std::byte>> pieces;
  pieces.push_back({reinterpret_cast<const std::byte*>(&header), sizeof header});
  std::size_t offset = sizeof header;
  for (std::size_t i = 0; i < kNumSections; ++i) {
    const std::size_t begin = aligned(offset);
    if (begin > offset) pieces.push_back(std::span(kPadding).first(begin - offset));
    Sha256 digest;
    std::size_t size = 0;
    for (const std::span<const std::byte> piece : contents[i]) {
      digest.update(piece);
      pieces.push_back(piece);
      size += piece.size();
    }
    header.sections[i].offset = begin;
    header.sections[i].size_bytes = size;
    std::memcpy(header.sections[i].sha256, digest.finish().data(), kDigestChars);
    offset = begin + size;
  }
  header.file_bytes = offset;
  std::memcpy(header.header_sha256, header_digest(header).data(), kDigestChars);
  write_file(path, pieces);
}

EngineSections parse_engine_file(std::span<const std::byte> bytes, const std::string& where, SectionCheck check) {
  Header header;
  if (bytes.size() < sizeof header) {
    refuse("is too short for an engine of the cuda target: it has " + std::to_string(bytes.size()) + " bytes", where);
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic.data(), kMagic.size()) != 0) {
    refuse("is not an engine of the cuda target: it does not begin like one", where);
  }
  // A digest cannot be asked of a header whose layout is another version's.
  if (header.version != kEngineFormatVersion) {
    throw Error(ErrorKind::kUnsupported,
                "is an engine of format version " + std::to_string(header.version) + "; this program reads version " +
                    std::to_string(kEngineFormatVersion),
                where, "build the bundle again with this program");
  }
  if (std::memcmp(header.header_sha256, header_digest(header).data(), kDigestChars) != 0) {
    refuse("is damaged: its header does not have the digest that it should have", where);
  }
  if (header.header_bytes != sizeof header) refuse("is damaged: its header has another size", where);
  if (header.file_bytes != bytes.size()) {
    refuse((bytes.size() < header.file_bytes ? "is cut off: it has " : "is longer than it should be: it has ") +
               std::to_string(bytes.size()) + " bytes and its header says " + std::to_string(header.file_bytes),
           where);
  }
  std::array<std::span<const std::byte>, kNumSections> sections;
  for (std::size_t i = 0; i < kNumSections; ++i) {
    const Section& section = header.sections[i];
    const std::string name = kSectionNames[i];
    if (section.offset % kSectionAlignment != 0 || section.offset > bytes.size() ||
        section.size_bytes > bytes.size() - section.offset) {
      refuse("is damaged: its section '" + name + "' does not lie within it", where);
    }
    sections[i] = bytes.subspan(section.offset, section.size_bytes);
    if (check == SectionCheck::kDigests &&
        std::memcmp(section.sha256, sha256_hex(sections[i]).data(), kDigestChars) != 0) {
      refuse("is damaged: its section '" + name + "' does not have the digest that it should have", where);
    }
  }
  return {sections[0], sections[1], sections[2], sections[3]};
}

}  // namespace pajamas::cuda

// The engine file `<part>.cuda`: everything a load needs, in one relocatable file. Layout (little-endian):
//
//   header     magic, version, sizes, place and SHA-256 of each section, SHA-256 of the header itself
//   graph      ONNX bytes without the large weights
//   index      JSON: what engine_index.h says
//   states     bytes that make kernels again (serialised plans, cubins)
//   weights    packed constants, each at a multiple of kBufferAlignment: read straight into device memory
//
// Knows no CUDA. The meaning of the index is engine_index.h's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace pajamas::cuda {

inline constexpr std::uint32_t kEngineFormatVersion = 1;

/// Borrowed sections of a file.
struct EngineSections {
  std::span<const std::byte> graph;
  std::span<const std::byte> index;
  std::span<const std::byte> states;
  std::span<const std::byte> weights;
};

/// Writes the file atomically. `weights` is given in pieces that follow one another. Throws Error{kBadInput} with the
/// system's reason when it cannot be written.
void write_engine_file(const std::filesystem::path& path, std::span<const std::byte> graph,
                       std::span<const std::byte> index, std::span<const std::byte> states,
                       std::span<const std::span<const std::byte>> weights);

enum class SectionCheck {
  kHeaderOnly,  ///< The caller has checked the whole file's digest.
  kDigests,     ///< Hash each section too.
};

/// The sections within `bytes`, which must outlive them. Throws Error{kBadInput} naming `where`: not an engine file,
/// cut off, damaged; Error{kUnsupported} for another format version.
EngineSections parse_engine_file(std::span<const std::byte> bytes, const std::string& where,
                                 SectionCheck check = SectionCheck::kHeaderOnly);

}  // namespace pajamas::cuda

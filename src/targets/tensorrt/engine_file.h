// The head of an engine file of TensorRT for RTX: what can be checked before the vendor's library sees a byte. The
// layout is our own observation of version 1.7 (the vendor does not document it), so an unknown head is refused, not
// guessed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "targets/tensorrt/abi.h"

namespace pajamas::tensorrt {

inline constexpr std::size_t kEngineHeadBytes = 64;

struct EngineHead {
  Version version;  ///< Of the library that built it.
  std::uint64_t file_bytes = 0;
  std::uint64_t weight_bytes = 0;
  std::vector<int> sms;  ///< Ascending.
};

/// Reads the head of the engine `bytes`, the whole file; `path` is only for messages. Throws Error{kBadInput} when it
/// is not such an engine or is cut off or longer than it says.
EngineHead parse_engine_head(std::span<const std::byte> bytes, const std::filesystem::path& path);

/// Throws Error{kUnsupported}, naming both versions, unless an engine of `head` runs under `library`.
void check_engine_version(const EngineHead& head, const Version& library, const std::filesystem::path& path);

/// Throws Error{kUnsupported}, naming the engine's SMs and the GPU's, unless the engine has code for `sm`.
void check_engine_sm(const EngineHead& head, int sm, const std::string& device, const std::filesystem::path& path);

}  // namespace pajamas::tensorrt

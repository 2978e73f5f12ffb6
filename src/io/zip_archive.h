// The directory of a zip archive whose entries are stored without compression, as PyTorch writes its checkpoints.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

namespace pajamas {

/// The bytes of each entry by its name, views into `bytes`. Sizes past 4 GiB (zip64) are read. Throws Error{kBadInput}
/// naming `where` for a damaged archive, Error{kUnsupported} for compressed or encrypted entries and several disks.
std::map<std::string, std::span<const std::byte>> read_stored_zip(std::span<const std::byte> bytes,
                                                                  const std::string& where);

}  // namespace pajamas

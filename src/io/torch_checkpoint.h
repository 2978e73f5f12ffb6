// PyTorch checkpoints (.pt): a zip archive of a pickle and the tensors' storages. A pickle is a program; here it is
// followed only as far as it builds dictionaries, lists, numbers, texts and tensors. Everything else is refused by name
// and never executed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/checkpoint_tensor.h"

namespace pajamas {

/// What the dictionaries of a checkpoint hold, by the path of their keys: "model_state_dict.encoder.conv1.weight",
/// "dims.n_mels". Immutable; shareable between threads; tensors that lie dense in their storage share the mapped file,
/// others (transposed, cut out) are copies in order.
class TorchCheckpoint {
 public:
  /// Throws Error{kUnsupported} for the format before PyTorch 1.6, compressed or big-endian storages, and naming the
  /// class or function for a pickle that wants any but those tensors are made of; Error{kBadInput} naming file and
  /// place for everything damaged: the archive, the pickle, tensors that reach past their storage.
  static TorchCheckpoint read(const std::filesystem::path& path);
  static TorchCheckpoint parse(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                               const std::string& where);
  /// Whether a file is named and begins like one. Throws Error{kBadInput} when it cannot be read.
  static bool is_torch(const std::filesystem::path& path);

  bool has(const std::string& name) const { return tensors_.contains(name); }
  /// Of tensors, in alphabetic order.
  std::vector<std::string> names() const;
  /// Throws Error{kBadInput} when there is none of this name.
  const CheckpointTensor& tensor(const std::string& name) const;
  /// An integer of the checkpoint; nothing when there is none of this name.
  std::optional<std::int64_t> find_integer(const std::string& name) const;
  const std::string& where() const { return where_; }

 private:
  std::string where_;
  std::map<std::string, CheckpointTensor> tensors_;
  std::map<std::string, std::int64_t> integers_;
};

}  // namespace pajamas

// Reader of safetensors checkpoints: one file, or shards joined by model.safetensors.index.json.
// The header is distrusted: every name, type, shape and offset is checked before a tensor is handed out. Weights stay
// in the mapped files; nothing is copied but tensors whose place in the file is not aligned for their type. The format:
// 8 bytes little-endian header length, a JSON object {name: {dtype, shape, data_offsets}}, then the data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/files.h"
#include "pajamas/tensor.h"

namespace pajamas {

/// Longest header that is read. Published shards stay below 1 MB; the format's own limit of 100 MB would let a hostile
/// file take gigabytes for its parsed form.
inline constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 25'000'000;

/// The tensors of one checkpoint, by name. Immutable; shareable between threads. Tensors keep their file mapped, so
/// they may outlive this object.
class Safetensors {
 public:
  /// One .safetensors file. Throws Error{kBadInput} naming the file, and the tensor where there is one: truncated, a
  /// header that is no JSON object or too long, duplicate names, unknown types (Error{kUnsupported}), offsets out of
  /// range, overlapping or leaving holes, sizes that do not agree with type and shape.
  static Safetensors read(const std::filesystem::path& path);
  /// The checkpoint of a folder: model.safetensors, else the shards that model.safetensors.index.json lists. Throws as
  /// `read`, and Error{kBadInput} when neither file is there, a listed tensor is not in its shard, a tensor is in two
  /// shards, or a shard's name is not a plain file name.
  static Safetensors read_directory(const std::filesystem::path& directory);
  /// The same checks on bytes in memory, which `owner` keeps alive; `where` names them in errors.
  static Safetensors parse(std::span<const std::byte> bytes, const std::shared_ptr<const void>& owner,
                           const std::string& where);

  bool has(const std::string& name) const { return entries_.contains(name); }
  /// Names in alphabetic order.
  std::vector<std::string> names() const;
  /// Type and shape without touching the data. Throws Error{kBadInput} when there is no such tensor.
  DType dtype_of(const std::string& name) const { return entry(name).dtype; }
  const Shape& shape_of(const std::string& name) const { return entry(name).shape; }
  /// The tensor, sharing the file's memory. Throws Error{kBadInput} when there is no such tensor.
  Tensor tensor(const std::string& name) const;
  /// The tensor's bytes in the mapped file, at any address. Valid as long as this object or a tensor of the same file.
  /// Throws Error{kBadInput} when there is no such tensor.
  std::span<const std::byte> bytes(const std::string& name) const { return entry(name).bytes; }
  /// Gives the memory of the tensor's pages back to the system; reading them again brings them back from the file. So
  /// a checkpoint larger than the memory can be read tensor by tensor. Thread-safe.
  void release(const std::string& name) const { release_file_memory(entry(name).bytes); }
  /// The file's "__metadata__" (of the last shard that has one, key by key).
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Folder or file, for messages.
  const std::string& where() const { return where_; }

 private:
  struct Entry {
    DType dtype = DType::kUndefined;
    Shape shape;
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> owner;
    std::string file;
  };
  const Entry& entry(const std::string& name) const;

  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
  std::string where_;
};

}  // namespace pajamas

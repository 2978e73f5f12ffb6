// CTranslate2's model.bin: named variables and aliases of them. What the names mean is the model families' affair
// (models/whisper/); the configuration and vocabulary beside it are JSON and text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint_tensor.h"

namespace pajamas {

/// Binary versions 4 to 6, which are of one layout: version, name and revision of the model specification, the
/// variables (name, extents, type, bytes), the aliases. Immutable; shareable between threads; tensors share the mapped
/// file.
class Ctranslate2Model {
 public:
  /// Throws Error{kBadInput} naming file and variable: truncated, counts that the file cannot hold, sizes that
  /// contradict each other, names given twice, aliases of nothing; Error{kUnsupported} for other versions (the older
  /// ones do not say the types of their variables) and types.
  static Ctranslate2Model read(const std::filesystem::path& path);
  static Ctranslate2Model parse(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                const std::string& where);
  /// Whether a file begins as a model.bin does: a small version number and the name of a specification. Throws
  /// Error{kBadInput} when it cannot be read.
  static bool is_ctranslate2(const std::filesystem::path& path);

  const std::string& spec_name() const { return spec_name_; }  ///< "WhisperSpec", ...
  std::uint32_t spec_revision() const { return spec_revision_; }
  bool has(const std::string& name) const { return tensors_.contains(name); }
  /// Variables and aliases, in alphabetic order.
  std::vector<std::string> names() const;
  /// Throws Error{kBadInput} when there is none of this name.
  const CheckpointTensor& tensor(const std::string& name) const;
  /// A scalar of any integer type. Throws Error{kBadInput} when it is missing or is none.
  std::int64_t integer(const std::string& name) const;
  const std::string& where() const { return where_; }

 private:
  std::string where_;
  std::string spec_name_;
  std::uint32_t spec_revision_ = 0;
  std::map<std::string, CheckpointTensor> tensors_;
};

}  // namespace pajamas

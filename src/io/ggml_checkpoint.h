// The legacy "ggml" files of whisper.cpp (ggml-base.bin, ggml-large-v3-q5_0.bin): sizes, mel filters, the vocabulary
// and the tensors one after another. Not GGUF, which io/gguf.h reads. What the tensors' names mean is
// models/whisper/'s.
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

/// The numbers at the beginning of the file, each at least 1 but the last.
struct GgmlSizes {
  std::int32_t vocab_size = 0;
  std::int32_t num_positions = 0, encoder_dim = 0, num_encoder_heads = 0, num_encoder_layers = 0;
  std::int32_t context_length = 0, decoder_dim = 0, num_decoder_heads = 0, num_decoder_layers = 0;
  std::int32_t num_mels = 0;
  std::int32_t file_type = 0;  ///< What most tensors are; the tensors say it themselves.
};

/// Immutable; shareable between threads; tensors share the mapped file.
class GgmlCheckpoint {
 public:
  /// Throws Error{kBadInput} naming file and tensor: truncated, counts that the file cannot hold, extents below 1, rows
  /// that are no whole number of blocks, names given twice; Error{kUnsupported} for other magic numbers and for types
  /// that are not read.
  static GgmlCheckpoint read(const std::filesystem::path& path);
  static GgmlCheckpoint parse(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                              const std::string& where);
  /// Whether a file begins with the magic number. Throws Error{kBadInput} when it cannot be read.
  static bool is_ggml(const std::filesystem::path& path);

  const GgmlSizes& sizes() const { return sizes_; }
  /// The bytes of each text token by id; special tokens have none here. Views into the file.
  const std::vector<std::string_view>& vocabulary() const { return vocabulary_; }
  bool has(const std::string& name) const { return tensors_.contains(name); }
  /// In alphabetic order.
  std::vector<std::string> names() const;
  /// Row-major: the file's extents reversed. Throws Error{kBadInput} when there is none of this name.
  const CheckpointTensor& tensor(const std::string& name) const;
  const std::string& where() const { return where_; }

 private:
  std::string where_;
  std::shared_ptr<const void> owner_;
  GgmlSizes sizes_;
  std::vector<std::string_view> vocabulary_;
  std::map<std::string, CheckpointTensor> tensors_;
};

}  // namespace pajamas
